"""Means and shares of rows that come in groups, with intervals that keep their word for few groups."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

from steerscope.statistics.intervals import CONFIDENCE, Estimate

_Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))


def clustered_mean(
    values: Float[np.ndarray, " row"], clusters: Shaped[np.ndarray, " row"] | None = None
) -> Estimate:
    """Mean over rows with a 95 % interval over their clusters; n is the number of clusters.

    By Student's t with G - 1 degrees of freedom and the variance
    G / (G - 1) Σ_g (Σ_{i in g} (yᵢ - ȳ))² / N². With few clusters it holds the truth more often than
    the percentiles of `cluster_bootstrap`, with many as often. Rows that are NaN are left out.

    Args:
        values: one number per row.
        clusters: the cluster of each row, of any type that sorts; default each row its own.

    Source: Liang & Zeger 1986 with the small-sample factor and degrees of freedom of Cameron &
    Miller 2015.
    """
    there = ~np.isnan(values)
    y = values[there].astype(float)
    groups = np.arange(len(y)) if clusters is None else clusters[there]
    n = len(np.unique(groups))
    if n < 2:
        return Estimate(float(y.mean()) if len(y) else math.nan, math.nan, math.nan, n)
    mean = float(y.mean())
    half = _t(n) * clustered_error(y, groups)
    return Estimate(mean, mean - half, mean + half, n)


def clustered_share(
    hits: Float[np.ndarray, " row"], clusters: Shaped[np.ndarray, " row"] | None = None
) -> Estimate:
    """Share of rows that are 1, with Wilson's interval at as many rows as the clusters are worth.

    Rows of one cluster say the same to the extent that p (1 - p) / N is below the squared error over
    clusters; N is divided by that ratio, down to the number of clusters, which it is where no row
    differs. n is the number of clusters. Rows that are NaN are left out.

    Source: Wilson 1927 at the effective sample size of Kish 1965.
    """
    there = ~np.isnan(hits)
    y = hits[there].astype(float)
    groups = np.arange(len(y)) if clusters is None else clusters[there]
    n = len(np.unique(groups))
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0)
    p, error = float(y.mean()), clustered_error(y, groups) if n > 1 else 0.0
    worth = p * (1 - p) / error**2 if error else n
    size = float(np.clip(worth, 1, len(y)))
    z = _Z if n == len(y) else _t(n)
    middle = (p + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * math.sqrt(p * (1 - p) / size + z**2 / (4 * size**2))
    return Estimate(p, max(0.0, middle - half), min(1.0, middle + half), n)


def clustered_error(y: Float[np.ndarray, " row"], clusters: Shaped[np.ndarray, " row"]) -> float:
    """Standard error of the mean over rows, from the sums of what is left in each cluster."""
    _, members = np.unique(clusters, return_inverse=True)
    n = int(members.max()) + 1
    sums = np.bincount(members, y - y.mean())
    return math.sqrt(n / (n - 1) * float((sums**2).sum())) / len(y)


def by_cluster(
    values: Float[np.ndarray, " row"], clusters: Shaped[np.ndarray, " row"]
) -> Float[np.ndarray, " cluster"]:
    """One number per cluster, of which the mean is that over the rows; rows that are NaN are left out.

    What is tested by item, such as by the signs of `sign_flip_p`, is tested by cluster with these.
    """
    there = ~np.isnan(values)
    return sums_by_cluster(values[None, there], clusters[there])[0]


def sums_by_cluster(
    values: Float[np.ndarray, "cell row"], clusters: Shaped[np.ndarray, " row"]
) -> Float[np.ndarray, "cell cluster"]:
    """Sums over the rows of each cluster, scaled so that their mean is the mean over rows.

    What is drawn by item, such as the weights of `max_mean`, is drawn by cluster with these.
    """
    found, members = np.unique(clusters, return_inverse=True)
    belongs = members[:, None] == np.arange(len(found))
    return values @ belongs * (len(found) / max(1, len(members)))


def rank_p(value: float, nulls: Float[np.ndarray, " null"]) -> float:
    """(1 + nulls at least as good) / (K + 1): chance that the best-placed of K + 1 equals is this one.

    NaN for no null, or a value that is NaN; a null that is NaN counts as at least as good, since what
    was not measured speaks for nobody.
    """
    if not len(nulls) or math.isnan(value):
        return math.nan
    at_least = int((~(nulls < value)).sum())
    return (1 + at_least) / (len(nulls) + 1)


@cache
def _t(n_clusters: int) -> float:
    """As many standard errors as hold 95 % with so many clusters."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, max(1, n_clusters - 1)))
