"""Two conditions on the same items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from statsmodels.stats import contingency_tables

from steerscope.errors import BadValueError, TooLittleDataError
from steerscope.statistics.intervals import Estimate, bootstrap_mean


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


def _check_paired(n_first: int, n_second: int) -> None:
    if n_first != n_second:
        raise BadValueError(
            f"a paired comparison needs the same items on both sides, got {n_first} and {n_second}."
        )
