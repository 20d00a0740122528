"""How sure: intervals, paired comparisons and corrections, on plain arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats
from scipy.stats import binomtest

CONFIDENCE = 0.95
_EXACT_UP_TO = 8  # items; 8! = 40320 permutations


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Correlation:
    """A signed correlation with interval, two-sided p and number of points."""

    rho: float
    low: float
    high: float
    p: float
    n: int


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


def detectable_difference(values: Float[np.ndarray, " item"], *, power: float = 0.8) -> float:
    """Smallest true mean that so many paired differences show with this chance, two-sided at 5 %.

    (z(0.975) + z(power)) s / √n, in the unit of the values; NaN items are left out, and NaN for
    fewer than two.
    """
    kept = values[~np.isnan(values)]
    if len(kept) < 2:
        return math.nan
    z = stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(power)
    return float(z * kept.std(ddof=1) / math.sqrt(len(kept)))


def sign_flip_p(
    differences: Float[np.ndarray, " item"], *, seed: int = 0, n_flips: int = 5000
) -> float:
    """Two-sided p of a mean paired difference, from random signs of the items; NaN for fewer than 2.

    Source: Fisher's randomisation test; the smallest p is 1 / (n_flips + 1).
    """
    kept = differences[~np.isnan(differences)]
    if len(kept) < 2:
        return math.nan
    observed, flipped = _flips(kept[None], seed, n_flips)
    return float((1 + (np.abs(flipped) >= np.abs(observed) - 1e-12).sum()) / (n_flips + 1))


def max_statistic(
    differences: Float[np.ndarray, "cell prompt"], *, seed: int = 0, n_flips: int = 5000
) -> Float[np.ndarray, " cell"]:
    """Corrected one-sided p of each cell of a sweep, for a mean difference above zero.

    The sign of each prompt's differences is flipped at random, the same in all cells, and each
    cell's t statistic is compared with the largest over all cells: the chance that a sweep with no
    effect anywhere has a cell this good.

    Source: Westfall & Young 1993, single-step max-T.
    """
    n_cells, n_prompts = differences.shape
    if n_prompts < 2:
        return np.full(n_cells, math.nan)
    observed, flipped = _flips(differences, seed, n_flips)
    largest = flipped.max(axis=1)
    return (1 + (largest[:, None] >= observed[None, :] - 1e-12).sum(axis=0)) / (n_flips + 1)


def sign_flip(
    differences: Float[np.ndarray, "cell item"], *, seed: int = 0, n_flips: int = 5000
) -> Float[np.ndarray, " cell"]:
    """One-sided p of each cell by itself, for a mean difference above zero.

    The sign of each item's difference is flipped at random and t compared with that of the flips;
    `max_statistic` is the same corrected for the number of cells.
    """
    n_cells, n_items = differences.shape
    if n_items < 2:
        return np.full(n_cells, math.nan)
    observed, flipped = _flips(differences, seed, n_flips)
    return (1 + (flipped >= observed - 1e-12).sum(axis=0)) / (n_flips + 1)


def _flips(
    differences: Float[np.ndarray, "cell item"], seed: int, n_flips: int
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, "flip cell"]]:
    """T of every cell as it is, and after flipping the sign of each item, the same in all cells."""
    n_items = differences.shape[1]
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(n_flips, n_items))
    observed = _t_statistics(differences, np.ones((1, n_items)))[0]
    return observed, _t_statistics(differences, signs)


def _t_statistics(
    differences: Float[np.ndarray, "cell prompt"], signs: Float[np.ndarray, "flip prompt"]
) -> Float[np.ndarray, "flip cell"]:
    """T of every cell under every flip; 0 where a cell does not vary and has mean 0."""
    n = differences.shape[1]
    means = signs @ differences.T / n
    second = (differences**2).sum(axis=1) / n  # unchanged by flips
    variance = np.maximum(second[None, :] - means**2, 1e-24) / (n - 1)
    return means / np.sqrt(variance)


def rank_correlation(
    x: Float[np.ndarray, " item"],
    y: Float[np.ndarray, " item"],
    *,
    seed: int = 0,
    n_resamples: int = 5000,
) -> Correlation:
    """Spearman's rho, bootstrap interval, two-sided permutation p (exact up to 8 items).

    NaN in everything but n where fewer than four pairs are finite or one side does not vary.
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


def crossing(
    doses: Float[np.ndarray, " dose"], effects: Float[np.ndarray, " dose"], level: float
) -> float:
    """Smallest dose at which the effect reaches `level`, by linear interpolation; NaN if never."""
    order = np.argsort(doses)
    x, y = doses[order], effects[order]
    for i in range(len(x)):
        if y[i] >= level:
            if i == 0:
                return float(x[0])
            share = (level - y[i - 1]) / (y[i] - y[i - 1])
            return float(x[i - 1] + share * (x[i] - x[i - 1]))
    return math.nan


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
