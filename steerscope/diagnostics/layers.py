"""Every diagnostic of every layer of a model, for one concept, in one table."""

from __future__ import annotations

import math
from contextlib import suppress

import pandas as pd
import torch

from steerscope.diagnostics.agreement import lens_agreement
from steerscope.diagnostics.gradients import gradient_screening
from steerscope.diagnostics.norms import residual_norms
from steerscope.diagnostics.probe import explained_variance, probe_accuracy
from steerscope.diagnostics.sensitivity import kl_sensitivity
from steerscope.diagnostics.separation import (
    half_agreement,
    pair_stability,
    separation,
    signal_to_noise,
)
from steerscope.diagnostics.table import LayerValue, as_table
from steerscope.diagnostics.visibility import visible_share, visible_subspace
from steerscope.directions import mean_diff, random
from steerscope.eigengaps import HeadSpectra, HeadStatistic, eigengap
from steerscope.errors import UnsupportedSiteError
from steerscope.extraction.activations import extract
from steerscope.models.lens_model import LensModel
from steerscope.models.prompts import Prompts, as_prompts
from steerscope.progress import Track, silent
from steerscope.sites import Site
from steerscope.texts.contrasts import load_contrasts
from steerscope.texts.given_pairs import PairsLike

_CONTROLS = 3  # random directions per layer


def layer_diagnostics(
    model: LensModel,
    fit: PairsLike,
    held_out: PairsLike,
    prompts: Prompts,
    *,
    dose: float = 0.1,
    seed: int = 0,
    progress: Track = silent,
) -> pd.DataFrame:
    """One row per layer and diagnostic, with interval, null, unit and n, at the blocks' outputs.

    Args:
        model: the model.
        fit: pairs that the mean difference is found on.
        held_out: other pairs, for what is judged on pairs not seen.
        prompts: texts for what needs no pairs.
        dose: of the KL sensitivity, in relative units.
        seed: of resamples and null directions.
        progress: shows the loops.

    Returns:
        diagnostic, layer, value, low and high (95 % bootstrap), unit, n, null.

    Raises:
        SteerscopeError: whatever one of the diagnostics refuses.
    """
    prompts = as_prompts(prompts)
    sites = [Site("resid_post", layer) for layer in range(model.shape.n_layers)]
    fit, held_out = load_contrasts(fit), load_contrasts(held_out)
    fitted = extract(model, fit, sites, progress=progress)
    others = extract(model, held_out, sites, progress=progress)
    directions = [mean_diff(c) for c in fitted.values()]
    controls = [random(c, seed=seed + i) for c in fitted.values() for i in range(_CONTROLS)]
    values = residual_norms(model, prompts, seed=seed)
    subspace = visible_subspace(model)
    for site, contrast in fitted.items():
        values += [
            f(contrast, seed=seed)
            for f in (separation, signal_to_noise, pair_stability, half_agreement)
        ]
        values += [
            f(contrast, others[site], seed=seed) for f in (probe_accuracy, explained_variance)
        ]
        values.append(probe_accuracy(contrast, others[site], method="logistic_probe", seed=seed))
        values.append(visible_share(contrast, subspace, seed=seed))
    texts = [(p.positive, p.negative) for p in held_out.pairs]
    values += gradient_screening(model, texts, directions, seed=seed)
    values += kl_sensitivity(
        model, prompts, directions, controls, dose=dose, seed=seed, progress=progress
    )
    values += lens_agreement(model, prompts, seed=seed)
    with suppress(UnsupportedSiteError):  # a model without attention keys has no such rows
        values += spectral_values(eigengap(model, prompts, seed=seed, progress=progress))
    return as_table(values)


def spectral_values(spectra: HeadSpectra) -> list[LayerValue]:
    """Spectra of the heads as values of the layer: the weakest link, and means over the heads.

    The null of the weakest link is the smallest gap among as many heads of random keys, since that of one head
    is larger than the smallest of several. The interval of a mean over heads is the mean of the heads' intervals, which is on the wide side.
    """
    gaps, _ = spectra.weakest_link()
    unknown = torch.full_like(gaps, math.nan)
    weakest = spectra.weakest
    low, high, null = (
        (weakest.low, weakest.high, weakest.nulls["random"]) if weakest else (unknown,) * 3
    )
    values = [
        LayerValue(
            "weakest_gap",
            layer,
            float(gaps[row]),
            float(low[row]),
            float(high[row]),
            "ratio",
            spectra.n_prompts,
            float(null[row]),
        )
        for row, layer in enumerate(spectra.layers)
    ]
    named = {"mean_gap": "gap", "participation_ratio": "participation_ratio"}
    for name, statistic in named.items():
        found = spectra.statistics[statistic]
        for row, layer in enumerate(spectra.layers):
            values.append(_head_mean(name, layer, found, row, spectra))
    return values


def _head_mean(
    name: str, layer: int, statistic: HeadStatistic, row: int, spectra: HeadSpectra
) -> LayerValue:
    value, low, high = (
        float(t[row].mean()) for t in (statistic.value, statistic.low, statistic.high)
    )
    null = float(spectra.null_gap[row].mean()) if name == "mean_gap" else float("nan")
    return LayerValue(name, layer, value, low, high, statistic.unit, spectra.n_prompts, null)
