"""Two conditions on the same items."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import brentq
from scipy.stats import norm
from statsmodels.stats import contingency_tables

from steerscope.errors import BadValueError, TooLittleDataError
from steerscope.statistics.intervals import CONFIDENCE, Estimate, bootstrap_mean


@dataclass(frozen=True)
class McNemar:
    """A paired comparison of two shares.

    Attributes:
        difference: share of the first minus share of the second, with its bootstrap interval.
        only_first: items that have it under the first condition alone.
        only_second: items that have it under the second condition alone.
        p: exact and two-sided; 1 where no item differs.
    """

    difference: Estimate
    only_first: int
    only_second: int
    p: float


def paired_bootstrap(
    first: Float[np.ndarray, " item"],
    second: Float[np.ndarray, " other"],
    *,
    seed: int = 0,
    n_resamples: int = 5000,
) -> Estimate:
    """Mean of first minus second, with a percentile interval from resampling the items in pairs.

    Items that are NaN on either side are left out.

    Raises:
        BadValueError: the sides have different numbers of items.
    """
    _check_paired(len(first), len(second))
    return bootstrap_mean(first - second, seed=seed, n_resamples=n_resamples)


def mcnemar(first: Bool[np.ndarray, " item"], second: Bool[np.ndarray, " other"]) -> McNemar:
    """Whether two conditions differ in a yes or no of the same items.

    Only items that change count: under no difference as many change one way as the other, and p is
    the two-sided binomial chance of a split as uneven as this.

    Raises:
        BadValueError: the sides have different numbers of items.
        TooLittleDataError: there are no items.

    Source: McNemar 1947, exact.
    """
    _check_paired(len(first), len(second))
    if not len(first):
        raise TooLittleDataError("McNemar's test has no items to compare.")
    both = [[int((f & s).sum()) for s in (second, ~second)] for f in (first, ~first)]
    found = contingency_tables.mcnemar(both, exact=True)
    difference = paired_bootstrap(first.astype(float), second.astype(float))
    return McNemar(difference, both[0][1], both[1][0], float(found.pvalue))


def share_difference(n_items: int, only_first: int, only_second: int) -> Estimate:
    """Difference of two shares of the same items with an interval that no item need turn for.

    The score interval: the differences δ that a test with z = (b - c - nδ) / sqrt(n (2 p₂₁ + δ (1 - δ)))
    keeps, with p₂₁ the likeliest share of items that the second condition has alone under δ. A
    bootstrap of items of which none turned would be sure that nothing changes.

    Args:
        n_items: items with an answer under both.
        only_first: items that have it under the first alone, b.
        only_second: items that have it under the second alone, c.

    Source: Tango 1998.
    """
    if not n_items:
        return Estimate(math.nan, math.nan, math.nan, 0)
    n, b, c = float(n_items), float(only_first), float(only_second)
    value, z = (b - c) / n, float(norm.ppf((1 + CONFIDENCE) / 2))

    def score(delta: float) -> float:
        middle = -b - c + (2 * n - b + c) * delta
        inside = max(0.0, middle**2 + 8 * n * c * delta * (1 - delta))
        alone = (math.sqrt(inside) - middle) / (4 * n)
        spread = math.sqrt(max(0.0, n * (2 * alone + delta * (1 - delta))))
        apart = b - c - n * delta
        return apart / spread if spread else apart * 1e9

    edge = 1 - 1e-12
    low = brentq(lambda d: _bounded(score(d) - z), -edge, value) if value > -1 else -1.0
    high = brentq(lambda d: _bounded(score(d) + z), value, edge) if value < 1 else 1.0
    return Estimate(value, float(low), float(high), n_items)


def _bounded(value: float) -> float:
    return max(-1e6, min(1e6, value))


def _check_paired(n_first: int, n_second: int) -> None:
    if n_first != n_second:
        raise BadValueError(
            f"a paired comparison needs the same items on both sides, got {n_first} and {n_second}."
        )
