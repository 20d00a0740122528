"""How well a score tells two classes apart."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from steerscope.statistics.intervals import CONFIDENCE, Estimate


def auroc(
    scores: Float[np.ndarray, "item score"], positive: Bool[np.ndarray, " item"]
) -> Float[np.ndarray, " score"]:
    """P(a positive item scores higher than a negative one), ties half, for each kind of score.

    NaN where one class is empty.
    """
    n_positive = int(positive.sum())
    n_pairs = n_positive * (len(positive) - n_positive)
    if not n_pairs:
        return np.full(scores.shape[1], math.nan)
    ranks = stats.rankdata(scores, axis=0)
    return (ranks[positive].sum(axis=0) - n_positive * (n_positive + 1) / 2) / n_pairs


def auroc_estimate(
    scores: Float[np.ndarray, " item"],
    positive: Bool[np.ndarray, " item"],
    *,
    seed: int = 0,
    n_resamples: int = 1000,
) -> Estimate:
    """`auroc` of one score with a percentile bootstrap interval, each class resampled by itself."""
    rng = np.random.default_rng(seed)
    above, below = np.flatnonzero(positive), np.flatnonzero(~positive)
    value = float(auroc(scores[:, None], positive)[0])
    if not len(above) or not len(below):
        return Estimate(value, math.nan, math.nan, len(scores))
    drawn = np.concatenate(
        [
            rng.choice(above, (n_resamples, len(above))),
            rng.choice(below, (n_resamples, len(below))),
        ],
        axis=1,
    )
    found = auroc(scores[drawn].T, np.arange(len(scores)) < len(above))
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high), len(scores))
