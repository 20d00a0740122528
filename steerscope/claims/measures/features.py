"""Numbers that decide claims about the features of autoencoders; the runs are those of `overlap`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

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

    The interval is the number minus the band that holds 95 % of the null, as if the concepts' nulls
    went up and down together, which makes it too wide rather than too narrow; p is the largest of
    the concepts'.
    """
    names = [run.path.name for run in runs]
    rows = pd.DataFrame([_reading(run, way, statistic, against) for run in runs], index=names)
    known = rows[rows[["value", "expected", "low", "high"]].notna().all(axis=1)]
    value, low, high = (
        float((known.value - known[edge]).mean()) for edge in ("expected", "high", "low")
    )
    n = int(known.n.min()) if len(known) else 0
    unknown = tuple(rows.index.difference(known.index, sort=False))
    return Measured(value, low, high, float(known.p.max()), n, "features", "draws", unknown=unknown)


@measure
def shared_features(runs: Sequence[Run], *, one: str, other: str) -> Measured:
    """How many of their first features two routes to a concept share, mean over concepts.

    The interval is over pairs that are drawn again.

    Raises:
        BadValueError: routes for which no pairs were drawn again.
    """
    if {one, other} != {*RESAMPLED}:
        raise BadValueError(f"pairs were drawn again for {' and '.join(RESAMPLED)} alone.")
    shared = [len({*sets[one].ranked} & {*sets[other].ranked}) for sets in map(sets_of_run, runs)]
    drawn = _resampled(runs, SHARED)
    return of_draws(float(np.mean(shared)), drawn, _pairs(runs), "features", "pairs")


@measure
def shared_over_chance(runs: Sequence[Run], *, one: str, other: str) -> Measured:
    """The same minus the middle of the band that features firing as often share by chance.

    The interval is as that of `reading_over_null`.

    Raises:
        UnknownNameError: no such route.
    """
    from steerscope.studies.features.overlap import (
        overlap,  # takes seconds to import
    )

    found = []
    for run in runs:
        sets = sets_of_run(run)
        for name in (one, other):
            if name not in sets:
                raise UnknownNameError("route", name, sets)
        [rates] = rates_of_run(run).values()
        found.append(overlap(sets[one], sets[other], frequency=rates))
    table = pd.DataFrame(found)
    middle = (table.drawn_low + table.drawn_high) / 2
    value, low, high = (
        float((table.shared - edge).mean()) for edge in (middle, table.drawn_high, table.drawn_low)
    )
    p = float(table.p_permutation.max())
    return Measured(value, low, high, p, len(runs), "features", "concepts")


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
