"""All ways to find a direction side by side, at every layer, at equal doses, against nulls.

Directions come from the fit split. The select split matches the doses and screens the layers, by the
preference on pairs. What is stated is measured on the test split at the layers so chosen: what the
continuations show where an oracle reads them, else the preference on pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from steerscope.directions import Direction, check_method, find_direction
from steerscope.engine.continuations import Continuation
from steerscope.engine.gathering import gather
from steerscope.engine.generation import attempt
from steerscope.engine.matched_kl import both_signs, matched_doses
from steerscope.engine.score import kl_from_plain, preferences
from steerscope.judges import Judge, choose_judge
from steerscope.judges.effects import Effect
from steerscope.judges.judges import read_all, scored, text_metrics
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.keeping import Keep, not_kept
from steerscope.sites import Site
from steerscope.statistics import bootstrap_mean
from steerscope.steering.interventions import Cell
from steerscope.studies.methods.findings import (
    NULLS,
    at_common_layer,
    best_layers,
    rank,
    rivals,
    standings,
)
from steerscope.studies.methods.plan import ComparisonPlan
from steerscope.studies.written import as_table, from_table
from steerscope.texts.contrasts import ContrastPair, ContrastSet, Prompt, PromptSet

DOSES = ("dose_absolute", "dose_relative", "dose_natural")
_CONDITION = ["direction", "matching"]
_CELLS_AT_ONCE = 32
_OTHER = "other_concept"
_TEXT = ("given", "written")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was measured.

    Attributes:
        effect: what the responses count.
        screen: one row per direction and matching, on the select split.
        responses: one row per condition and held-out item; `effect` and what else was read, with
            `given` and `written` where a model wrote.
        plain: what it wrote without steering, one row per held-out prompt likewise; empty where
            nothing is written.
        ranking: one row per setting and method, with doses, KL on the test prompts and standing.
        pairs: one row per setting and pair of methods, with the cosine of their vectors, NaN where
            their layers differ.
    """

    effect: Effect
    screen: pd.DataFrame
    responses: pd.DataFrame
    ranking: pd.DataFrame
    pairs: pd.DataFrame
    plain: pd.DataFrame = field(default_factory=pd.DataFrame)


def compare_methods(
    model: LensModel,
    contrasts: ContrastSet,
    prompts: PromptSet,
    *,
    plan: ComparisonPlan | None = None,
    other: ContrastSet | None = None,
    judge: Judge | None = None,
    progress: Track = silent,
    keep: Keep = not_kept,
) -> Comparison:
    """Every method and control at every layer, at a matched KL and at a matched length.

    Args:
        model: the model.
        contrasts: the pairs.
        prompts: to be continued, with the facts that an oracle needs, if there are any.
        plan: how; default all methods.
        other: pairs of another concept, whose mean difference is then compared as well.
        judge: reads continuations; default the oracle where it can, else preference.
        progress: shows the loops.
        keep: keeps what was measured, part by part.

    Raises:
        UnsupportedSiteError: a layer that the model lacks.
        DegenerateDirectionError: a method finds no direction at a layer.
        BadValueError: the matched KL is out of reach for all null directions.
    """
    plan = plan or ComparisonPlan()
    pairs, asked = contrasts.split(plan.seed), prompts.split(plan.seed)
    judge = judge or choose_judge(contrasts, (*asked.select.prompts, *asked.test.prompts))
    directions = _find(model, pairs.fit, other, plan, progress)
    screen = screen_layers(
        model, directions, pairs.select, asked.select, plan, progress=progress, keep=keep
    )
    chosen = pd.concat([best_layers(screen), at_common_layer(screen)], ignore_index=True)
    bench = _Bench(
        model, judge, directions, chosen.drop_duplicates(_CONDITION), plan, progress, keep
    )
    texts = asked.test.prompts[: plan.n_test]
    measured = bench.read(texts) if judge.effect.is_share else bench.prefer(pairs.test)
    responses = chosen[["place", "method", "seed", "layer", *_CONDITION]].merge(
        measured, on=_CONDITION
    )
    against = _with_cosines(rivals(responses, seed=plan.seed), chosen, directions)
    conditions = keep("labels", lambda: bench.labelled(asked.test))
    ranking = rank(responses, seed=plan.seed).merge(
        _means(chosen[["place", *_CONDITION]].merge(conditions, on=_CONDITION), responses),
        on=["place", "matching", "method"],
        validate="one_to_one",
    )
    plain = keep("read-plain", lambda: bench.read_plain(texts)) if judge.effect.is_share else None
    stated = standings(ranking, against)
    return Comparison(
        judge.effect, screen, responses, stated, against, pd.DataFrame() if plain is None else plain
    )


def screen_layers(
    model: LensModel,
    directions: Sequence[Direction],
    pairs: ContrastSet,
    prompts: PromptSet,
    plan: ComparisonPlan,
    *,
    progress: Track = silent,
    keep: Keep = not_kept,
) -> pd.DataFrame:
    """The matched doses of every direction, and the shift of the preference that they make.

    The effect is half the difference of the preference between +dose and -dose, in nats, so that
    what either sign does alike cancels.

    Returns:
        One row per direction and matching: direction (its place in the sequence), matching, method,
        seed, layer, the dose in three units, kl_nats, effect, low, high, n. What does not reach the
        matched KL has NaN for dose and effect; what overflows at its dose has NaN for the effect.
    """
    asked = [p.text for p in prompts.prompts[: plan.n_kl_prompts]]
    table = keep(
        "doses", lambda: matched_doses(model, directions, asked, plan.matching, progress=progress)
    )
    reached = table.dropna(subset="dose_relative")
    asked_pairs = pairs.pairs[: plan.n_pairs]
    by_layer = [
        keep(
            f"screen-{layer}",
            partial(_shift_table, model, directions, rows, asked_pairs, progress),
        ).set_axis(rows.index)
        for layer, rows in reached.groupby([directions[i].site.layer for i in reached.direction])
    ]
    shifts = pd.concat(by_layer).loc[reached.index].to_numpy(float)
    estimates = [bootstrap_mean(shift, seed=plan.seed) for shift in shifts]  # NaN if none is known
    names = {"value": "effect", "low": "low", "high": "high", "n": "n"}
    for attribute, name in names.items():
        values = [getattr(e, attribute) for e in estimates]
        table[name] = pd.Series(values, index=reached.index)
    found = [directions[i] for i in table.direction]
    table["method"] = [d.method for d in found]
    table["seed"] = [_seed(d) for d in found]
    table["layer"] = [d.site.layer for d in found]
    for name, length in zip(DOSES, ("absolute", "relative", "natural"), strict=True):
        unit = np.array([d.scale.relative / d.scale.length(length) for d in found])
        table[name] = table.dose_relative * unit
    return table


def _find(
    model: LensModel,
    pairs: ContrastSet,
    other: ContrastSet | None,
    plan: ComparisonPlan,
    progress: Track,
) -> list[Direction]:
    """Every method, every null with its seeds, and the other concept, at every layer."""
    sites = [Site("resid_post", i) for i in plan.layers or range(model.shape.n_layers)]
    methods = [m for m in dict.fromkeys(map(check_method, plan.methods)) if m not in NULLS]
    if other is not None:
        methods = [*dict.fromkeys([*methods, _OTHER])]
    found = gather(model, pairs, sites, [*methods, *NULLS], other=other, progress=progress)
    seeds = {name: range(plan.seed, plan.seed + plan.n_null_seeds) for name in NULLS}
    return [
        find_direction(name, contrast, seed=seed)
        for contrast in found.values()
        for name in (*methods, *NULLS)
        for seed in seeds.get(name, [plan.seed])
    ]


def _seed(direction: Direction) -> int:
    seed = direction.provenance.seed
    return -1 if seed is None else seed


def _cosine(one: Direction, other: Direction) -> float:
    return float(one.unit @ other.unit)


def _with_cosines(
    pairs: pd.DataFrame, chosen: pd.DataFrame, directions: Sequence[Direction]
) -> pd.DataFrame:
    """The pairs with the cosine of the two vectors that were compared."""
    columns = ["place", "matching", "method", "direction"]
    numbers = {tuple(keys): number for *keys, number in chosen[columns].itertuples(index=False)}
    cosines = []
    for pair in pairs.itertuples():
        one, other = (
            directions[numbers[pair.place, pair.matching, method]]
            for method in (pair.better, pair.worse)
        )
        cosines.append(_cosine(one, other) if one.site == other.site else np.nan)
    return pairs.assign(cosine=cosines)


def _shifts(
    model: LensModel,
    directions: Sequence[Direction],
    conditions: pd.DataFrame,
    pairs: Sequence[ContrastPair],
    progress: Track,
) -> Float[np.ndarray, "row pair"]:
    """Half the difference of the preference between +dose and -dose, for each pair.

    NaN for every pair where the logits are no numbers on one of them.
    """
    cells = _cells(directions, conditions)
    texts = [(p.positive, p.negative) for p in pairs]
    found = preferences(model, texts, cells, progress=progress).double().numpy()
    shifts = (found[0::2] - found[1::2]) / 2
    lost = np.isnan(shifts).any(axis=1)
    shifts[lost] = np.nan
    _log_lost(cell for cell, gone in zip(cells[::2], lost, strict=True) if gone)
    return shifts


def _shift_table(
    model: LensModel,
    directions: Sequence[Direction],
    conditions: pd.DataFrame,
    pairs: Sequence[ContrastPair],
    progress: Track,
) -> pd.DataFrame:
    """`_shifts` with a column for each pair."""
    shifts = _shifts(model, directions, conditions, pairs, progress)
    return pd.DataFrame(shifts, columns=[str(i) for i in range(len(pairs))])


def _cells(directions: Sequence[Direction], conditions: pd.DataFrame) -> list[Cell]:
    """For each condition the cell of +dose, then that of -dose."""
    found = zip(conditions.direction, conditions.dose_relative, strict=True)
    return [cell for i, dose in found for cell in both_signs(directions[i], dose)]


@dataclass(frozen=True, eq=False)
class _Bench:
    """Measures chosen conditions on held-out texts."""

    model: LensModel
    judge: Judge
    directions: Sequence[Direction]
    conditions: pd.DataFrame
    plan: ComparisonPlan
    progress: Track
    keep: Keep

    def prefer(self, pairs: ContrastSet) -> pd.DataFrame:
        """The shift of the preference of each pair, one row per condition and pair."""
        pairs_used = pairs.pairs[: self.plan.n_test]
        shifts = self.keep(
            "preferences",
            lambda: _shift_table(
                self.model, self.directions, self.conditions, pairs_used, self.progress
            ),
        ).to_numpy(float)
        keys = self.conditions[_CONDITION].to_dict("records")
        return pd.DataFrame(
            [
                {**key, "item": item, "effect": float(value)}
                for key, row in zip(keys, shifts, strict=True)
                for item, value in enumerate(row)
            ]
        )

    def read(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        """What the judge reads in the continuations, one row per condition and prompt.

        Each prompt is steered away from the value that it shows. A continuation without text, in
        which nothing can be read, counts as no effect; of a condition whose logits are no numbers
        somewhere nothing is known, under either sign.
        """
        starts = range(0, len(self.conditions), _CELLS_AT_ONCE)
        signs = (1,) if scored(self.judge) else (1, -1)  # a score reads any prompt
        parts = [(sign, start) for sign in signs for start in starts]
        tables = [
            self.keep(f"read-{sign}-{start}", partial(self._read, prompts, sign, start))
            for sign, start in self.progress(parts, "reading continuations")
        ]
        found = pd.concat([table for table in tables if len(table)], ignore_index=True)
        unknown = found.effect.isna().groupby([found[key] for key in _CONDITION]).transform("any")
        readings = [c for c in found if c not in {*_CONDITION, "item", *_TEXT}]
        found.loc[unknown, readings] = np.nan
        if "written" in found:  # not in what was kept by a run from before
            found.loc[unknown, "written"] = None
        return found

    def read_plain(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        """What the judge reads in the continuations without steering, one row per prompt."""
        [written] = self._written("plain", [p.text for p in prompts], [Cell()])
        read = read_all(self.judge, prompts, written)
        return pd.DataFrame(
            [
                {"item": i, "degenerate": text_metrics(text.tokens)["degenerate"], **values}
                | {"given": prompt.text, "written": text.text}
                for i, (prompt, text, values) in enumerate(zip(prompts, written, read, strict=True))
            ]
        )

    def _written(
        self, name: str, texts: Sequence[str], cells: Sequence[Cell]
    ) -> list[list[Continuation]]:
        """What the model writes, kept under a name until it is judged, where the judge may fail."""
        plan = self.plan
        write = partial(attempt, self.model, texts, cells, n_new=plan.n_new, sampler=plan.sampler)
        if not scored(self.judge):
            return write()
        return from_table(self.keep(f"written-{name}", lambda: as_table(write())))

    def _read(self, prompts: Sequence[Prompt], sign: int, start: int) -> pd.DataFrame:
        """What is read under one sign of some conditions."""
        conditions = self.conditions.iloc[start : start + _CELLS_AT_ONCE]
        cells = _cells(self.directions, conditions)[(0 if sign == 1 else 1) :: 2]
        mine = [i for i, prompt in enumerate(prompts) if self.judge.applies(prompt, sign)]
        written = self._written(f"{sign}-{start}", [prompts[i].text for i in mine], cells)
        _log_lost(cell for cell, row in zip(cells, written, strict=True) if not _is_finite(row))
        rows = []
        for key, found in zip(conditions[_CONDITION].to_dict("records"), written, strict=True):
            read = read_all(self.judge, [prompts[i] for i in mine], found)
            for i, text, values in zip(mine, found, read, strict=True):
                effect = np.nan_to_num(values.pop(self.judge.effect.metric))
                effect = effect if text.finite else np.nan
                degenerate = text_metrics(text.tokens)["degenerate"]
                said = {"given": prompts[i].text, "written": text.text}
                number = {"item": i, "effect": effect, "degenerate": degenerate}
                rows.append({**key, **number, **values, **said})
        return pd.DataFrame(rows)

    def labelled(self, prompts: PromptSet) -> pd.DataFrame:
        """The conditions with the KL on these prompts and the cosine with the mean difference."""
        asked = [p.text for p in prompts.prompts[: self.plan.n_kl_prompts]]
        cells = _cells(self.directions, self.conditions)
        nats = kl_from_plain(self.model, asked, cells, progress=self.progress).double()
        straight = {d.site: d for d in self.directions if d.method == "mean_diff"}
        cosines = [
            _cosine(d, straight[d.site]) if d.site in straight else np.nan
            for d in (self.directions[i] for i in self.conditions.direction)
        ]
        return self.conditions.drop(columns=["effect", "low", "high", "n", "place"]).assign(
            kl_nats=nats.mean(dim=1).reshape(-1, 2).mean(dim=1).numpy(),
            cosine_to_mean_diff=cosines,
        )


def _is_finite(row: Sequence[Continuation]) -> bool:
    return all(text.finite for text in row)


def _log_lost(cells: Iterable[Cell]) -> None:
    for cell in cells:
        _log.warning("the logits hold a NaN or an infinity under the condition %s", cell.key)


def _means(conditions: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """Labels and further readings of each setting and method, mean over seeds and items.

    The layer is -1 where the seeds of a null have chosen different ones.
    """
    keys = ["place", "matching", "method"]
    labels = conditions.groupby(keys)[[*DOSES, "kl_nats", "cosine_to_mean_diff"]].mean()
    layers = conditions.groupby(keys).layer.agg(["first", "nunique"])
    labels["layer"] = layers["first"].where(layers["nunique"] == 1, -1)
    known = {*keys, *_CONDITION, *_TEXT, "seed", "layer", "item", "effect"}
    others = [c for c in responses if c not in known]
    return labels.join(responses.groupby(keys)[others].mean()).reset_index()
