"""Numbers with their intervals: shares, means, and means over clusters of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats
from scipy.stats import binomtest

CONFIDENCE = 0.95
_ENOUGH = 20  # items, below which drawing them again knows too little of what else there is


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}], n = {self.n}"


def wilson(successes: int, n: int) -> Estimate:
    """A share with its Wilson score interval; NaN for n = 0.

    Source: Wilson 1927.
    """
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def bootstrap_mean(
    values: Float[np.ndarray, " item"], *, seed: int = 0, n_resamples: int = 5000
) -> Estimate:
    """Mean with a percentile bootstrap interval over the items, NaN items left out.

    For a paired comparison give the differences, one per prompt.
    """
    kept = values[~np.isnan(values)]
    if len(kept) < 2:
        value = float(kept.mean()) if len(kept) else math.nan
        return Estimate(value, math.nan, math.nan, len(kept))
    rng = np.random.default_rng(seed)
    means = kept[rng.integers(len(kept), size=(n_resamples, len(kept)))].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(kept.mean()), float(low), float(high), len(kept))


def cluster_bootstrap(
    values: Float[np.ndarray, " row"],
    clusters: Shaped[np.ndarray, " row"],
    *,
    seed: int = 0,
    n_resamples: int = 5000,
) -> Estimate:
    """Mean over rows with a percentile interval from resampling whole clusters of them.

    Rows of one cluster, such as several texts on one prompt, are not independent; a cluster is drawn
    with all its rows. Rows that are NaN are left out. n is the number of clusters, and the interval
    is NaN for fewer than two.

    Args:
        values: one number per row.
        clusters: the cluster of each row, of any type that sorts.
        seed: of the resamples.
        n_resamples: number of resamples.
    """
    there = ~np.isnan(values)
    names, members = np.unique(clusters[there], return_inverse=True)
    n, kept = len(names), values[there]
    if n < 2:
        value = float(kept.mean()) if len(kept) else math.nan
        return Estimate(value, math.nan, math.nan, n)
    sums, counts = np.bincount(members, kept), np.bincount(members)
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(kept.mean()), float(low), float(high), n)


def bootstrap_ratio(
    numerators: Float[np.ndarray, " item"],
    denominators: Float[np.ndarray, " item"],
    *,
    seed: int = 0,
    n_resamples: int = 2000,
) -> Estimate:
    """Σ numerators / Σ denominators, with a percentile bootstrap interval over the items.

    NaN where the denominators add up to zero, or for the interval of fewer than two items.
    """
    n, whole = len(numerators), float(denominators.sum())
    value = float(numerators.sum()) / whole if whole else math.nan
    if n < 2 or not whole:
        return Estimate(value, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples)
    below = drawn @ denominators
    ratios = np.divide(drawn @ numerators, below, out=np.full(len(below), np.nan), where=below != 0)
    low, high = np.nanquantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high), n)


def spread_as_few(
    draws: Float[np.ndarray, "draw ..."],
    value: Float[np.ndarray, "*number"] | float,
    n: int,
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> Float[np.ndarray, "draw ..."]:
    """Draws of a number spread about it as far as Student's interval of so few items reaches; of twenty as they are.

    Each distance is multiplied by t √(n / (n - 1)) / z: percentiles take the spread of n items for that of all there are,
    and z for t. Intervals of ratios of sums over 4 items of heavy tails held the truth in 69 to 80 % of simulations,
    and so in 82 to 94 %; over 8 in 81 to 85 %, and so in 88 to 93 %.

    Args:
        draws: of the number, the items drawn again.
        value: the number; several have as many draws each.
        n: items.
        least: the smallest that the number can be.
        most: the largest.

    Source: Hesterberg 2015 on the bootstrap that is too narrow for few items.
    """
    if not 2 <= n < _ENOUGH:
        return draws
    tail = (1 + CONFIDENCE) / 2
    wider = float(stats.t.ppf(tail, n - 1) / stats.norm.ppf(tail)) * math.sqrt(n / (n - 1))
    return np.clip(value + wider * (draws - value), least, most)
