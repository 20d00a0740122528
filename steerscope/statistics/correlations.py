"""Correlations with interval and p."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from jaxtyping import Float
from scipy import stats

from steerscope.statistics.intervals import CONFIDENCE

_EXACT_UP_TO = 8  # items; 8! = 40320 permutations


@dataclass(frozen=True)
class Correlation:
    """A signed correlation with interval, two-sided p and number of points."""

    rho: float
    low: float
    high: float
    p: float
    n: int

    @property
    def interval(self) -> str:
        """The interval in words."""
        if math.isnan(self.low):
            return "no interval"
        return f"[{self.low:+.2f}, {self.high:+.2f}]"


def rank_correlation(
    x: Float[np.ndarray, " item"],
    y: Float[np.ndarray, " item"],
    *,
    seed: int = 0,
    n_resamples: int = 5000,
) -> Correlation:
    """Spearman's rho, bootstrap interval, two-sided permutation p (exact up to 8 items).

    NaN in everything but n where fewer than four pairs are finite or one side does not vary. A perfect order
    has no interval: drawn again it is perfect too, and of four pairs with a true rho of 0.89 41 % are in one.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    n = len(x)
    if n < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(math.nan, math.nan, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    a, b = stats.rankdata(x), stats.rankdata(y)
    rho = _pearson(a[None], b[None])[0]
    if n <= _EXACT_UP_TO:
        shuffled = b[np.array(list(permutations(range(n))))]
        extreme = np.abs(_pearson(a[None], shuffled)) >= abs(rho) - 1e-12
        p = float(extreme.mean())
    else:
        shuffled = rng.permuted(np.tile(b, (n_resamples, 1)), axis=1)
        extreme = np.abs(_pearson(a[None], shuffled)) >= abs(rho) - 1e-12
        p = float((1 + extreme.sum()) / (1 + n_resamples))
    if abs(rho) > 1 - 1e-12:
        return Correlation(float(rho), math.nan, math.nan, p, n)
    drawn = rng.integers(n, size=(n_resamples, n))
    resampled = _pearson(stats.rankdata(x[drawn], axis=1), stats.rankdata(y[drawn], axis=1))
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Correlation(float(rho), float(low), float(high), p, n)


def linear_correlation(x: Float[np.ndarray, " item"], y: Float[np.ndarray, " item"]) -> Correlation:
    """Pearson's r, Fisher's interval and the two-sided p of the t test, for normal values.

    NaN in everything but n where fewer than four pairs are finite or one side does not vary.

    Source: Fisher 1921; the interval is tanh(atanh r ± z / √(n - 3)).
    """
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    n = len(x)
    if n < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(math.nan, math.nan, math.nan, math.nan, n)
    found = stats.pearsonr(x, y)
    interval = found.confidence_interval(CONFIDENCE)
    return Correlation(
        float(found.statistic), float(interval.low), float(interval.high), float(found.pvalue), n
    )


def _pearson(
    a: Float[np.ndarray, "#sample item"], b: Float[np.ndarray, "#sample item"]
) -> Float[np.ndarray, " _"]:
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    spread = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    product = (a * b).sum(axis=1)
    return np.divide(product, spread, out=np.full(product.shape, np.nan), where=spread > 1e-12)
