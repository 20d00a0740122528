"""Means over items of which several may say the same, with intervals that keep their word for few."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

from steerscope.statistics.clusters import clustered_mean, clustered_share
from steerscope.statistics.intervals import Estimate, cluster_bootstrap

_ENOUGH = 20  # clusters, below which drawing them again knows too little of what else there is


def distinct_mean(
    values: Float[np.ndarray, " row"],
    clusters: Shaped[np.ndarray, " row"],
    *,
    share: bool = False,
    seed: int = 0,
) -> Estimate:
    """Mean over rows with a bootstrap interval over their clusters; of fewer than twenty by Student's t.

    Also of a share that does not vary, of which drawing again says nothing. Of a share of yes and no, which is no difference, by Wilson's interval then. Rows that are NaN are left out, and n is
    the number of clusters.

    Args:
        values: one number per row.
        clusters: the cluster of each row, such as the distinct prompt that it is.
        share: whether the number is a share.
        seed: of the resamples.
    """
    found = cluster_bootstrap(values, clusters, seed=seed)
    if _is_enough(found, share=share):
        return found
    if share and np.isin(values[~np.isnan(values)], (0.0, 1.0)).all():
        return clustered_share(values, clusters)
    return clustered_mean(values, clusters)


def distinct_difference(
    values: Float[np.ndarray, " row"],
    clusters: Shaped[np.ndarray, " row"],
    *,
    share: bool = False,
    seed: int = 0,
) -> Estimate:
    """The same of paired differences; of shares by `clustered_difference` where there are few clusters."""
    found = cluster_bootstrap(values, clusters, seed=seed)
    if _is_enough(found, share=share):
        return found
    return clustered_difference(values, clusters, share=share)


def _is_enough(found: Estimate, *, share: bool) -> bool:
    """Whether what was drawn again tells how sure a number is: many clusters, and of a share not all alike."""
    varies = not share or found.low < found.high
    return found.n < 2 or (found.n >= _ENOUGH and varies)


def clustered_difference(
    values: Float[np.ndarray, " row"], clusters: Shaped[np.ndarray, " row"], *, share: bool
) -> Estimate:
    """Mean of paired differences with an interval over clusters by Student's t; NaN rows are left out.

    Of shares, two invented clusters widen the interval, one better and one worse, so that nothing seen in few
    is not taken for nothing.

    Source: Agresti & Min 2005, for matched pairs.
    """
    there = ~np.isnan(values)
    kept, labels = values[there].astype(float), clusters[there]
    found = clustered_mean(kept, labels)
    if not share or found.n < 2:
        return found
    _, numbers = np.unique(labels, return_inverse=True)
    means = np.bincount(numbers, kept) / np.bincount(numbers)
    wider = clustered_mean(np.append(means, [1.0, -1.0]))
    low, high = min(found.low, wider.low), max(found.high, wider.high)
    return Estimate(found.value, max(-1.0, low), min(1.0, high), found.n)
