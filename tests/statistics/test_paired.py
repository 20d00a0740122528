from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from steerscope.errors import BadValueError, TooLittleDataError
from steerscope.statistics import (
    bootstrap_mean,
    cluster_bootstrap,
    mcnemar,
    paired_bootstrap,
    share_difference,
)


def test_mcnemar_by_hand():
    first = np.array([True] * 7 + [False] * 3)
    second = np.array([True] + [False] * 6 + [True] + [False] * 2)
    found = mcnemar(first, second)
    # Six change one way and one the other: p = 2 (C(7, 0) + C(7, 1)) / 2⁷ = 16 / 128.
    assert (found.only_first, found.only_second) == (6, 1)
    assert found.p == pytest.approx(0.125)
    assert found.difference.value == pytest.approx(0.5)
    assert mcnemar(second, first).p == pytest.approx(0.125)
    assert mcnemar(second, first).difference.value == pytest.approx(-0.5)


def test_nothing_that_changes_is_no_evidence():
    assert mcnemar(np.array([True, False]), np.array([True, False])).p == 1.0
    with pytest.raises(TooLittleDataError, match="no items"):
        mcnemar(np.array([], bool), np.array([], bool))


def score(difference, n, b, c):
    """z of a difference of two shares, of which the likelihood is maximised by trying."""

    def unlikely(second):
        first = second + difference
        rest = 1 - first - second
        return -b * math.log(first) - c * math.log(second) - (n - b - c) * math.log(rest)

    edges = (max(0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12)
    second = minimize_scalar(unlikely, bounds=edges, method="bounded", options={"xatol": 1e-12}).x
    variance = n * (2 * second + difference - difference**2)
    return (b - c - n * difference) / math.sqrt(variance)


@pytest.mark.parametrize(("n", "b", "c"), [(20, 2, 8), (50, 12, 2), (9, 3, 3)])
def test_the_interval_of_two_shares_ends_where_the_score_of_the_likeliest_shares_does(n, b, c):
    found = share_difference(n, b, c)
    assert (found.value, found.n) == ((b - c) / n, n)
    low = brentq(lambda d: score(d, n, b, c) - 1.959964, -0.95, found.value)
    high = brentq(lambda d: score(d, n, b, c) + 1.959964, found.value, 0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-5)
    other = share_difference(n, c, b)
    assert (-other.high, -other.low) == pytest.approx((found.low, found.high), abs=1e-9)


def test_a_paired_bootstrap_is_the_bootstrap_of_the_differences():
    first, second = np.array([3.0, 5.0, math.nan, 9.0]), np.array([1.0, 4.0, 2.0, 6.0])
    found = paired_bootstrap(first, second)
    assert found == bootstrap_mean(np.array([2.0, 1.0, 3.0]))
    assert (found.value, found.n) == (2.0, 3)
    with pytest.raises(BadValueError, match="3 and 1"):
        paired_bootstrap(np.ones(3), np.ones(1))
    with pytest.raises(BadValueError, match="2 and 1"):
        mcnemar(np.array([True, False]), np.array([True]))


def test_a_cluster_is_drawn_with_all_its_rows():
    # Two clusters: a resample is (a, a), (a, b), (b, a) or (b, b), with means 1, 2, 2 and 4.
    values, clusters = np.array([1.0, 1.0, 4.0]), np.array(["a", "a", "b"])
    found = cluster_bootstrap(values, clusters)
    assert (found.value, found.low, found.high, found.n) == (2.0, 1.0, 4.0, 2)
    one = cluster_bootstrap(values, np.array(["a", "a", "a"]))
    assert (one.value, one.n) == (2.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(cluster_bootstrap(np.array([math.nan]), np.array([0])).value)


def test_rows_that_repeat_their_cluster_add_no_certainty():
    values = np.random.default_rng(0).normal(size=40)
    once = bootstrap_mean(values, seed=3)
    repeated = np.append(np.repeat(values, 10), math.nan)
    found = cluster_bootstrap(repeated, np.append(np.repeat(np.arange(40), 10), 40), seed=3)
    assert (found.low, found.high) == pytest.approx((once.low, once.high))
    assert found.n == 40
    assert bootstrap_mean(repeated).high - bootstrap_mean(repeated).low < 0.5 * (
        once.high - once.low
    )
