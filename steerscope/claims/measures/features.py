"""Numbers that decide claims about the features of autoencoders; the runs are those of `overlap`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from steerscope.claims.measures.measure import Measured, measure, of_draws
from steerscope.errors import BadValueError, RunError, UnknownNameError
from steerscope.experiments.jobs.overlaps import (
    ACTIVE,
    RESAMPLED,
    SHARED,
    rates_of_run,
    readings_of_run,
    sets_of_run,
)
from steerscope.runs.results import Run


@measure
def active_share(runs: Sequence[Run], *, away_from: float) -> Measured:
    """Share of features whose encoder column hears a contrastive vector, minus a number.

    Mean over concepts; the interval is over pairs that are drawn again.
    """
    found = [_reading(run, "encoder_projection", ACTIVE, "random_direction").value for run in runs]
    drawn = _resampled(runs, ACTIVE) - away_from
    value = float(np.mean(found)) - away_from
    return of_draws(value, drawn, _pairs(runs), "share of features", "pairs")


@measure
def reading_over_null(runs: Sequence[Run], *, way: str, statistic: str, against: str) -> Measured:
    """A number of a reading minus its mean under a null, mean over concepts.

    There is no interval, since the pairs were not drawn again; p is the largest of the concepts', two-sided, and 1
    where the number is above the null in one concept and below it in another.
    """
    names = [run.path.name for run in runs]
    rows = pd.DataFrame([_reading(run, way, statistic, against) for run in runs], index=names)
    known = rows[rows[["value", "expected", "p"]].notna().all(axis=1)]
    above = known.value - known.expected
    one_sided = (above > 0).all() or (above < 0).all()
    p = float(known.p.max()) if one_sided else 1.0
    n = int(known.n.min()) if len(known) else 0
    unknown = tuple(rows.index.difference(known.index, sort=False))
    return Measured(
        float(above.mean()), math.nan, math.nan, p, n, "features", "draws", unknown=unknown
    )


@measure
def shared_features(runs: Sequence[Run], *, one: str, other: str) -> Measured:
    """How many of their first features two routes to a concept share, mean over concepts.

    The interval is over pairs that are drawn again.

    Raises:
        BadValueError: routes for which no pairs were drawn again.
    """
    _check_resampled(one, other)
    shared = [len({*sets[one].ranked} & {*sets[other].ranked}) for sets in map(sets_of_run, runs)]
    drawn = _resampled(runs, SHARED)
    return of_draws(float(np.mean(shared)), drawn, _pairs(runs), "features", "pairs")


@measure
def shared_over_chance(runs: Sequence[Run], *, one: str, other: str) -> Measured:
    """The same minus what features that fire as often share by chance.

    The interval holds the pairs that are drawn again minus a draw of chance, so that it is about both.

    Raises:
        BadValueError: routes for which no pairs were drawn again.
        UnknownNameError: no such route.
    """
    from steerscope.studies.features.overlap import (
        shared_by_chance,  # takes seconds to import
    )

    shared: list[int] = []
    chance: list[Int[np.ndarray, " draw"]] = []
    for run in runs:
        sets = sets_of_run(run)
        for name in (one, other):
            if name not in sets:
                raise UnknownNameError("route", name, sets)
        _check_resampled(one, other)
        [rates] = rates_of_run(run).values()
        shared.append(len({*sets[one].ranked} & {*sets[other].ranked}))
        chance.append(shared_by_chance(sets[one], sets[other], frequency=rates, seed=len(chance)))
    by_chance = np.mean(chance, axis=0)
    again = np.resize(_resampled(runs, SHARED), by_chance.shape)
    value = float(np.mean(shared) - by_chance.mean())
    return of_draws(value, again - by_chance, _pairs(runs), "features", "pairs")


def _check_resampled(one: str, other: str) -> None:
    if {one, other} != {*RESAMPLED}:
        raise BadValueError(f"pairs were drawn again for {' and '.join(RESAMPLED)} alone.")


def _reading(run: Run, way: str, statistic: str, null: str) -> pd.Series:
    """The row of a reading.

    Raises:
        RunError: the run has none such.
    """
    table = readings_of_run(run)
    here = table[(table.way == way) & (table.statistic == statistic) & (table.null == null)]
    if here.empty:
        raise RunError(f"{run.path} has no {statistic} of {way} against {null}.")
    return here.iloc[0]


def _resampled(runs: Sequence[Run], metric: str) -> Float[np.ndarray, " sample"]:
    """Mean over concepts of a number under each draw of the pairs."""
    found = []
    for run in runs:
        table = run.table()
        rows = table[(table.metric == metric) & (table.split == "fit") & (table.seed >= 0)]
        found.append(rows.sort_values("seed").value.to_numpy(float))
    return np.mean(found, axis=0)


def _pairs(runs: Sequence[Run]) -> int:
    return sum(int(run.configuration["n_pairs"]) for run in runs)
