"""How far each layer can be steered, measured, beside everything that might have predicted it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from scipy.interpolate import interp1d

from steerscope.diagnostics import layer_diagnostics
from steerscope.directions import Direction, mean_diff
from steerscope.doses import Dose
from steerscope.engine.matched_kl import Matching, at_matched_kl, matched_length
from steerscope.engine.score import mean_kl, preferences
from steerscope.extraction.activations import extract
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.progress import Track, silent
from steerscope.runs.keeping import Keep, not_kept
from steerscope.sites import Site
from steerscope.statistics import bootstrap_mean
from steerscope.steering.interventions import Cell, Steering
from steerscope.texts.chats import Chat
from steerscope.texts.contrasts import ContrastSet, opening_prompts


def measure_steerability(
    model: LensModel,
    pairs: Sequence[tuple[str, str]],
    prompts: Sequence[TextOrIds],
    directions: Sequence[Direction],
    *,
    matching: Matching | None = None,
    progress: Track = silent,
    keep: Keep = not_kept,
) -> pd.DataFrame:
    """Shift of the preference per layer, at a matched length and at a matched KL.

    The effect of a dose is half the difference of the preference between +dose and -dose, so that
    what either sign does alike cancels. Between two doses the effect is linear in the dose, and at
    the matched KL linear in log KL; it is NaN where the doses do not reach that KL. So is every effect where
    no layer reaches it and no dose is given to match by length.

    Args:
        model: the model.
        pairs: held-out positive and negative texts.
        prompts: texts on which the KL is measured.
        directions: one per layer.
        matching: doses and what is matched.
        progress: shows the loop.
        keep: keeps what was measured of each layer.

    Returns:
        One row per layer: layer, effect_relative in nats with low and high, dose_relative at which
        that is, effect_kl in nats, dose_at_kl in relative units, n_pairs.

    Raises:
        MemoryBudgetError: not one text fits into the memory.
    """
    matching = matching or Matching()
    doses = np.array(matching.doses)
    responses = [
        keep(
            f"layer-{direction.site.layer}",
            partial(_responses, model, pairs, prompts, direction, matching.doses),
        )
        for direction in progress(directions, "steering every layer")
    ]
    kl_of = [r.kl.to_numpy(float) for r in responses]
    needed = [math.exp(at_matched_kl(kl, np.log(doses), matching.kl)) for kl in kl_of]
    relative = matched_length(matching, needed)
    rows = []
    for direction, found, kl, dose_at_kl in zip(directions, responses, kl_of, needed, strict=True):
        effects = found.drop(columns="kl").to_numpy(float)
        there = interp1d(doses, effects, axis=0)(relative)
        # of all pairs or none, so that layers are compared on the same ones
        at = bootstrap_mean(there if np.isfinite(there).all() else np.full_like(there, np.nan))
        rows.append(
            {
                "layer": direction.site.layer,
                "effect_relative": at.value,
                "effect_relative_low": at.low,
                "effect_relative_high": at.high,
                "dose_relative": relative,
                "effect_kl": at_matched_kl(kl, effects.mean(axis=1), matching.kl),
                "dose_at_kl": dose_at_kl,
                "n_pairs": at.n,
            }
        )
    return pd.DataFrame(rows)


def _responses(
    model: LensModel,
    pairs: Sequence[tuple[str, str]],
    prompts: Sequence[TextOrIds],
    direction: Direction,
    doses: Sequence[float],
) -> pd.DataFrame:
    """One row per relative dose: kl, mean of both signs, and the effect on each pair."""
    cells = [
        Cell((Steering(direction, Dose(sign * dose, "relative")),))
        for dose in doses
        for sign in (1, -1)
    ]
    shape = (len(doses), 2, -1)
    shifts = preferences(model, pairs, cells).double().numpy().reshape(shape)
    nats = mean_kl(model, prompts, cells).numpy().reshape(shape)
    effects = (shifts[:, 0] - shifts[:, 1]) / 2
    by_pair = {f"pair {i}": column for i, column in enumerate(effects.T)}
    return pd.DataFrame({"kl": nats.mean(axis=(1, 2)), **by_pair})


def predictor_table(
    model: LensModel,
    concepts: Sequence[ContrastSet],
    *,
    n_pairs: int = 40,
    matching: Matching | None = None,
    seed: int = 0,
    progress: Track = silent,
    keep: Keep = not_kept,
    chat: Chat | None = None,
) -> pd.DataFrame:
    """Diagnostics and measured steerability of every layer for every concept, one row each.

    Directions are mean differences at the blocks' outputs, found on the `fit` part; what is judged
    on pairs not seen, and the diagnostics that need such, use `select`; steerability is measured on
    `test`, so that no diagnostic has seen the texts that it is to predict.

    Args:
        model: the model.
        concepts: contrast sets, one per concept.
        n_pairs: pairs used of each part at most.
        matching: at which doses layers are compared.
        seed: of splits, resamples and null directions.
        progress: shows the loops.
        keep: keeps what was measured of each concept's layers.
        chat: how texts are put into the model's chat template; None for plain text.

    Returns:
        Columns model, concept, layer, depth (0 to 1), norm (relative length), the columns of
        `measure_steerability`, and one column per diagnostic.

    Raises:
        ContrastError: a contrast set is too small to be split.
        BadValueError: no concept, or a pair that a diagnostic cannot read.
    """
    parts = [
        _concept_rows(model, c, n_pairs, matching, seed, progress, _under(keep, number), chat)
        for number, c in enumerate(concepts)
    ]
    return pd.concat(parts, ignore_index=True)


def _under(keep: Keep, number: int) -> Keep:
    """Keeps the tables of one concept apart from those of the others."""
    return lambda name, make: keep(f"{number}-{name}", make)


def _concept_rows(
    model: LensModel,
    concept: ContrastSet,
    n_pairs: int,
    matching: Matching | None,
    seed: int,
    progress: Track,
    keep: Keep,
    chat: Chat | None,
) -> pd.DataFrame:
    split = concept.split(seed)
    plain = [
        replace(part, pairs=part.pairs[:n_pairs]) for part in (split.fit, split.select, split.test)
    ]
    prompts, asked = (
        [p.text for p in in_chat(model, opening_prompts(part.name, part.pairs), chat).prompts]
        for part in plain[1:]
    )
    fit, select, test = (in_chat(model, part, chat) for part in plain)
    last = model.shape.n_layers - 1
    sites = [Site("resid_post", layer) for layer in range(last + 1)]
    directions = [mean_diff(c) for c in extract(model, fit, sites).values()]
    measured = measure_steerability(
        model,
        [(p.positive, p.negative) for p in test.pairs],
        asked,
        directions,
        matching=matching,
        progress=progress,
        keep=keep,
    )
    long = keep(
        "diagnostics",
        lambda: layer_diagnostics(model, fit, select, prompts, seed=seed, progress=progress),
    )
    wide = long.pivot(index="layer", columns="diagnostic", values="value").reset_index()
    measured.insert(0, "model", model.name)
    measured.insert(1, "concept", concept.name)
    measured["depth"] = measured.layer / max(1, last)
    measured["norm"] = [d.scale.relative for d in directions]
    return measured.merge(wide, on="layer", validate="one_to_one")
