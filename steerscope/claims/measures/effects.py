"""Numbers that decide claims about steering: of sweeps, predictors, combinations and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Int

from steerscope.claims.measures.measure import Measured, measure, of_parts
from steerscope.errors import BadValueError, RunError, UnknownNameError
from steerscope.experiments.jobs.arms import ADDED, ALL, SINGLE, arms_of_rows, best_of, out_of_reach
from steerscope.experiments.jobs.predictors import layers_of_rows, without_layers
from steerscope.judges.effects import SHOWN, SHOWN_UNDAMAGED
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import LOST, Run
from steerscope.studies.methods.findings import of_distinct
from steerscope.studies.methods.stored import responses_of_rows
from steerscope.studies.predictors.over_layers import grouped_correlation
from steerscope.studies.predictors.power import detectable_over_layers
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.steering.responses import PLAIN, conditions, per_prompt, responses

_LENGTHS = {"natural": "dose_natural", "relative": "dose_relative", "absolute": "dose_absolute"}


@measure
def effect_over_layers(
    runs: Sequence[Run], *, method: str, dose: float, unit: str, depth: Sequence[float]
) -> Measured:
    """Effect over plain, mean over the layers in a part of the depth, at one dose."""
    values = [_by_layer(run, method, dose, unit) for run in runs]
    return _of_items([_part(v, depth) for v in values], runs)


@measure
def layers_minus_layers(
    runs: Sequence[Run],
    *,
    method: str,
    dose: float,
    unit: str,
    depth: Sequence[float],
    other: Sequence[float],
) -> Measured:
    """Mean effect over one part of the depth minus that over another, on the same prompts."""
    values = [_by_layer(run, method, dose, unit) for run in runs]
    return _of_items([_part(v, depth) - _part(v, other) for v in values], runs)


@measure
def best_layer_over_random(runs: Sequence[Run], *, method: str, dose: float, unit: str) -> Measured:
    """Effect minus that of random directions of the same length, at the layer that does best.

    The layer is chosen on every second distinct prompt that both have, and the difference stated on the
    others. Nothing is known where one layer overflows, which may be the best, or a random direction there.
    """
    found = []
    for run in runs:
        mine, random = (_by_layer(run, m, dose, unit) for m in (method, "random"))
        found.append(_best_over(mine, random, partial(_labels, run, "select")))
    return _of_items(found, runs)


@measure
def layer_correlation(runs: Sequence[Run], *, diagnostic: str, outcome: str) -> Measured:
    """Rank correlation over layers of a diagnostic with steerability, within models and concepts."""
    layers = layers_of_rows(runs)
    for column in (diagnostic, outcome):
        if column not in layers:
            raise UnknownNameError("column of the predictors", column, layers.columns)
    found = grouped_correlation(layers, diagnostic, outcome)
    return Measured(
        found.rho,
        found.low,
        found.high,
        found.p,
        found.n,
        "rho",
        "layers",
        detectable=detectable_over_layers(layers, diagnostic, outcome),
        unknown=without_layers(runs, (diagnostic, outcome)),
    )


@measure
def single_minus_all(runs: Sequence[Run]) -> Measured:
    """Effect of the best single layer minus that of all layers at once, at one KL."""
    return _of_arms(runs, SINGLE, ALL)


@measure
def sum_minus_single(runs: Sequence[Run]) -> Measured:
    """Effect of a concept's direction with another's added minus without, at one KL, best layers."""
    return _of_arms(runs, ADDED, SINGLE)


@measure
def method_minus_method(
    runs: Sequence[Run],
    *,
    method: str,
    other: str,
    place: str,
    matching: str,
    seed: int | None = None,
) -> Measured:
    """Effect of one way to find a direction minus that of another, on the same held-out items.

    Of several seeds one is to be named: their splits share prompts, which would count twice. A run is unknown
    of which one of the two overflows, or has no dose of the KL, and the others count.
    """
    seeds = sorted({int(run.configuration["seed"]) for run in runs})
    if seed is None and len(seeds) > 1:
        raise BadValueError(f"runs of the seeds {seeds} share prompts; name one of them as `seed`.")
    runs = [run for run in runs if seed in (None, run.configuration["seed"])]
    if not runs:
        raise RunError(f"no run has the seed {seed}; there are {seeds}.")
    values = [_by_method(run, place, matching) for run in runs]
    names = sorted({str(name) for run in runs for name in run.table().method.dropna().unique()})
    for name in (method, other):
        if name not in names:
            where = ", ".join(run.path.name for run in runs)
            raise UnknownNameError(f"method of {where}", name, names)
    both = [found.reindex([method, other]) for found in values]
    return _of_items([found.loc[method] - found.loc[other] for found in both], runs, None)


def _by_method(run: Run, place: str, matching: str) -> pd.DataFrame:
    """Effect of each method on each distinct item; NaN on all where a seed of it overflows."""
    responses_here = of_distinct(responses_of_rows(run.table(), effect_of(run).metric))
    here = responses_here[(responses_here.place == place) & (responses_here.matching == matching)]
    lost = here.effect.isna().groupby([here.method, here.seed]).transform("all")
    effects = here.effect.mask(lost.groupby(here.method).transform("any"))
    return effects.groupby([here.method, here["item"]]).mean().unstack()


def _by_layer(run: Run, method: str, dose: float, unit: str) -> pd.DataFrame:
    """Effect over plain of each layer on each prompt at one dose; several seeds are averaged.

    A text in which nothing can be read is no effect, as where layers are chosen; prompts that were not asked
    at every layer are left out. A layer of which nothing is known of a seed, since its logits overflow, is NaN
    on all of them.

    Raises:
        RunError: the dose was not measured.
    """
    if unit not in _LENGTHS:
        raise UnknownNameError("dose unit", unit, _LENGTHS)
    table, effect = run.table(), effect_of(run)
    labels, values = conditions(table), responses(table, effect, "select")
    if effect.is_share:
        written = table[~table.status.isin(LOST)].assign(value=0.0)
        values = values.fillna(per_prompt(written, effect.metric, "select"))
    close = np.isclose(labels[_LENGTHS[unit]].astype(float), dose, rtol=1e-5)
    here = labels[(labels.method == method) & close]
    here = here[here.index.isin(values.index)]  # some controls are measured on the test split alone
    if here.empty:
        raise RunError(f"{run.path} has no {method} at {dose:g} {unit}.")
    mine, layers = values.loc[here.index], here.layer.to_numpy()
    found = mine.groupby(layers).mean()
    found[mine.isna().all(axis=1).groupby(layers).any()] = np.nan
    if effect.is_share:
        found = found.sub(values.loc[PLAIN], axis=1)
    known = found.dropna(how="all")
    return found[known.dropna(axis=1).columns]


def _best_over(
    mine: pd.DataFrame, random: pd.DataFrame, labels: Callable[[pd.Index], np.ndarray]
) -> pd.Series:
    """The difference at the layer that does best on every second distinct prompt, on the others.

    None where nothing is known of one of the layers.
    """
    both = mine.columns.intersection(random.columns)
    numbers = labels(both)
    to_choose = np.isin(numbers, list(dict.fromkeys(numbers))[::2])
    chosen_by = mine[both[to_choose]].mean(axis=1)
    if chosen_by.isna().any():  # one overflows, or no prompt was asked at every layer
        return pd.Series(dtype=float)
    best, others = chosen_by.idxmax(), both[~to_choose]
    return mine.loc[best, others] - random.loc[best, others]


def _part(values: pd.DataFrame, depth: Sequence[float]) -> pd.Series:
    """Mean over the layers whose middle lies in a part of the depth, from 0 to 1.

    NaN where nothing is known of one of them.
    """
    low, high = depth
    middles = (np.arange(len(values)) + 0.5) / len(values)
    inside = values[(middles >= low) & (middles <= high)]
    if not len(inside):
        raise BadValueError(f"no layer lies between {low:g} and {high:g} of the depth.")
    return inside.mean(axis=0, skipna=False)


def _of_arms(runs: Sequence[Run], family: str, other: str) -> Measured:
    """The difference of two families of arms; those that no dose brings to the KL are named as unknown."""
    found = _of_items(_arms_alike(runs, family, other), runs, "test")
    names = [
        arm + (f" of {run.path.name}" if len(runs) > 1 else "")
        for run in runs
        if run.path.name not in found.unknown
        for arm in out_of_reach(run.table(), (family, other))
    ]
    return replace(found, unknown=(*found.unknown, *names))


def _arms_alike(runs: Sequence[Run], family: str, other: str) -> list[pd.Series]:
    """The difference of two families of arms in each run.

    Beside runs in which a damaged text is no effect, nothing is known of those from before, in which it counts.
    """
    counts = [effect_of(run).metric for run in runs]
    other_kind = SHOWN if SHOWN_UNDAMAGED in counts else None
    return [
        pd.Series(dtype=float) if metric == other_kind else _arms(run, family, other)
        for run, metric in zip(runs, counts, strict=True)
    ]


def _arms(run: Run, family: str, other: str) -> pd.Series:
    table, metric = run.table(), effect_of(run).metric
    values = arms_of_rows(table, metric, "test")
    first, second = (best_of(table, metric, name) for name in (family, other))
    if first is None or second is None:
        return pd.Series(dtype=float)  # no arm reaches the KL, or one overflows
    return values.loc[first] - values.loc[second]


def _labels(run: Run, split: str, items: pd.Index) -> Int[np.ndarray, " item"]:
    """The number of the distinct prompt, or contrast, that each item of a run is."""
    return groups_of(run).of(split, effect_of(run).metric, list(items))


def _of_items(
    parts: Sequence[pd.Series], runs: Sequence[Run], split: str | None = "select"
) -> Measured:
    """Over the distinct prompts of runs that share none.

    Args:
        parts: of each run the number of each item.
        runs: the runs.
        split: of which the items are; None where those that say the same are one already.

    Raises:
        RunError: several seeds, or several samples of a prompt, whose items say the same more than once.
    """
    seeds = sorted({int(run.configuration.get("seed", 0)) for run in runs})
    if len(seeds) > 1:
        raise RunError(f"runs of the seeds {seeds} share prompts, which would count twice.")
    if any(int(run.configuration.get("samples", 1)) > 1 for run in runs):
        raise RunError(
            "several samples of a prompt would count as several prompts; take one of each."
        )
    numbers = [part.to_numpy(float) for part in parts]
    labels = [
        np.arange(len(part)) if split is None else _labels(run, split, part.index)
        for part, run in zip(parts, runs, strict=True)
    ]
    names, unit = [run.path.name for run in runs], effect_of(runs[0]).unit
    return of_parts(numbers, names, unit, labels)
