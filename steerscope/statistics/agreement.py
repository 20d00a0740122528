"""How far readers of the same texts agree, beyond what chance would give."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from steerscope.statistics.intervals import CONFIDENCE, Estimate, spread_as_few

_RESAMPLES = 2000


def cohens_kappa(
    a: Float[np.ndarray, " item"],
    b: Float[np.ndarray, " item"],
    clusters: Shaped[np.ndarray, " item"] | None = None,
) -> Estimate:
    """Agreement of two readers beyond chance, with a bootstrap interval over the items.

    κ = (p_o - p_e) / (1 - p_e): the share on which they agree, and that on which two readers with their
    habits would agree by chance. Items that one of them left out (NaN) do not count. NaN where both
    always say the same one thing. n is the number of items, or of clusters.

    Args:
        a: what one reader says of each item.
        b: what the other says.
        clusters: of each item, such as the prompt of a text; a cluster is drawn with all its items. Each
            its own by default.

    Source: Cohen 1960.
    """
    both = np.column_stack([a, b])
    known = ~np.isnan(both).any(axis=1)
    return _with_interval(both[known], _kappa, None if clusters is None else clusters[known])


def krippendorffs_alpha(
    readings: Float[np.ndarray, "item reader"],
    clusters: Shaped[np.ndarray, " item"] | None = None,
) -> Estimate:
    """Agreement of any number of readers, some of whom left items out, for values without an order.

    α = 1 - D_o / D_e: the disagreement within items against that between any two readings. Items with
    fewer than two readings do not count. The interval is a bootstrap over the items, or over clusters of
    them as for `cohens_kappa`.

    Source: Krippendorff 2011.
    """
    known = (~np.isnan(readings)).sum(axis=1) >= 2
    return _with_interval(readings[known], _alpha, None if clusters is None else clusters[known])


def _with_interval(
    items: Float[np.ndarray, "item reader"],
    found: Callable[[np.ndarray], float],
    clusters: Shaped[np.ndarray, " item"] | None = None,
) -> Estimate:
    """A bootstrap over the items, or over clusters of them, spread as for few.

    Where all resamples agree alike, two invented items stand beside them on which the first two readers
    disagree, one each way, so that perfect agreement on few items is not taken for certain.
    """
    members = _members(np.arange(len(items)) if clusters is None else clusters)
    n = len(members)
    if n < 2:
        value = found(items) if len(items) > 1 else math.nan
        return Estimate(value, math.nan, math.nan, n)
    value = found(items)
    drawn = spread_as_few(_drawn_again(items, found, members), value, n, least=-1.0, most=1.0)
    low, high = _ends(drawn)
    values = np.unique(items[~np.isnan(items)])
    if low == high and len(values) > 1:
        invented = np.full((2, items.shape[1]), np.nan)
        invented[:, :2] = [values[:2], values[1::-1]]
        more = [*members, np.array([len(items)]), np.array([len(items) + 1])]
        wider = _ends(_drawn_again(np.concatenate([items, invented]), found, more))
        low, high = min(low, wider[0]), max(high, wider[1])
    return Estimate(value, low, high, n)


def _members(clusters: Shaped[np.ndarray, " item"]) -> list[Int[np.ndarray, " _"]]:
    """The places of the items of each cluster."""
    _, numbers = np.unique(clusters, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []


def _drawn_again(
    items: Float[np.ndarray, "item reader"],
    found: Callable[[np.ndarray], float],
    members: Sequence[Int[np.ndarray, " _"]],
) -> Float[np.ndarray, " draw"]:
    """What is found in the resamples where it is known."""
    rng, n = np.random.default_rng(0), len(members)
    draws = (rng.integers(n, size=n) for _ in range(_RESAMPLES))
    again = np.array([found(items[np.concatenate([members[i] for i in drawn])]) for drawn in draws])
    return again[~np.isnan(again)]


def _ends(drawn: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """Where the middle 95 % of some draws lie; NaN where there are none."""
    if not len(drawn):
        return math.nan, math.nan
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
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
