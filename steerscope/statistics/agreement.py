"""How far readers of the same texts agree, beyond what chance would give."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from steerscope.statistics.intervals import CONFIDENCE, Estimate

_RESAMPLES = 2000


def cohens_kappa(a: Float[np.ndarray, " item"], b: Float[np.ndarray, " item"]) -> Estimate:
    """Agreement of two readers beyond chance, with a bootstrap interval over the items.

    κ = (p_o - p_e) / (1 - p_e): the share on which they agree, and that on which two readers with their
    habits would agree by chance. Items that one of them left out (NaN) do not count. NaN where both
    always say the same one thing.

    Source: Cohen 1960.
    """
    both = np.column_stack([a, b])
    return _with_interval(both[~np.isnan(both).any(axis=1)], _kappa)


def krippendorffs_alpha(readings: Float[np.ndarray, "item reader"]) -> Estimate:
    """Agreement of any number of readers, some of whom left items out, for values without an order.

    α = 1 - D_o / D_e: the disagreement within items against that between any two readings. Items with
    fewer than two readings do not count. The interval is a bootstrap over the items.

    Source: Krippendorff 2011.
    """
    return _with_interval(readings[(~np.isnan(readings)).sum(axis=1) >= 2], _alpha)


def _with_interval(
    items: Float[np.ndarray, "item reader"], found: Callable[[np.ndarray], float]
) -> Estimate:
    """A bootstrap over the items.

    Where all resamples agree alike, two invented items stand beside them on which the first two readers
    disagree, one each way, so that perfect agreement on few items is not taken for certain.
    """
    n = len(items)
    if n < 2:
        return Estimate(math.nan, math.nan, math.nan, n)
    low, high = _ends(items, found)
    values = np.unique(items[~np.isnan(items)])
    if low == high and len(values) > 1:
        invented = np.full((2, items.shape[1]), np.nan)
        invented[:, :2] = [values[:2], values[1::-1]]
        wider = _ends(np.concatenate([items, invented]), found)
        low, high = min(low, wider[0]), max(high, wider[1])
    return Estimate(found(items), low, high, n)


def _ends(
    items: Float[np.ndarray, "item reader"], found: Callable[[np.ndarray], float]
) -> tuple[float, float]:
    """Where the middle 95 % of the resamples lie; NaN where none is known."""
    rng, n = np.random.default_rng(0), len(items)
    again = np.array([found(items[rng.integers(n, size=n)]) for _ in range(_RESAMPLES)])
    known = again[~np.isnan(again)]
    if not len(known):
        return math.nan, math.nan
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def _kappa(both: Float[np.ndarray, "item 2"]) -> float:
    observed = float((both[:, 0] == both[:, 1]).mean())
    by_chance = sum(float(np.prod((both == value).mean(axis=0))) for value in np.unique(both))
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def _alpha(readings: Float[np.ndarray, "item reader"]) -> float:
    values = np.unique(readings[~np.isnan(readings)])
    counts = np.stack([(readings == value).sum(axis=1) for value in values], axis=1).astype(float)
    per_item = counts.sum(axis=1)
    # pairs of readings of an item that differ, each item weighed by 1 / (its readings - 1)
    differ = ((per_item**2 - (counts**2).sum(axis=1)) / (per_item - 1)).sum()
    totals = counts.sum(axis=0)
    n = totals.sum()
    expected = (n**2 - (totals**2).sum()) / (n - 1)
    return float(1 - differ / expected) if expected > 0 else math.nan
