"""Intervals over distinct items, by hand and by simulation; ranks among nulls."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from steerscope.statistics import clustered_mean, clustered_share, rank_p, wilson


def test_a_clustered_mean_by_hand():
    # clusters (1, 3), (5): mean 3, residual sums -2 and 2; se² = 2/1 · (4 + 4) / 9
    found = clustered_mean(np.array([1.0, 3.0, 5.0]), np.array(["a", "a", "b"]))
    half = stats.t.ppf(0.975, 1) * math.sqrt(2 * 8 / 9)
    assert (found.value, found.n) == (3.0, 2)
    assert found.low == pytest.approx(3 - half)
    assert found.high == pytest.approx(3 + half)


def test_rows_that_say_the_same_are_worth_one():
    values = np.array([0.0, 1.0, 2.0, 3.0])
    once = clustered_mean(values, np.arange(4))
    five_times = clustered_mean(np.repeat(values, 5), np.repeat(np.arange(4), 5))
    assert five_times == once


def test_one_distinct_item_has_no_interval():
    found = clustered_mean(np.ones(40), np.zeros(40))
    assert (found.value, found.n) == (1.0, 1)
    assert math.isnan(found.low)


def test_a_share_of_items_that_are_all_distinct_is_wilsons():
    found = clustered_share(np.array([1.0] * 8 + [0.0] * 2))
    by_hand = wilson(8, 10)
    assert found.value == by_hand.value
    assert found.low == pytest.approx(by_hand.low, abs=0.03)
    assert found.high == pytest.approx(by_hand.high, abs=0.03)


def test_a_share_of_clusters_that_say_some_of_the_same_by_hand():
    # sums of what is left 0, -1, 1: error² = 3/2 · 2 / 81, so that 9 rows are worth (2/9) / (1/27) = 6
    hits = np.array([1, 1, 0, 1, 0, 0, 1, 1, 1.0])
    found = clustered_share(hits, np.repeat(["a", "b", "c"], 3))
    z = stats.t.ppf(0.975, 2)
    middle = (2 / 3 + z**2 / 12) / (1 + z**2 / 6)
    half = z / (1 + z**2 / 6) * math.sqrt(1 / 27 + z**2 / 144)
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)
    assert found.low == pytest.approx(middle - half, abs=1e-9)
    assert found.high == pytest.approx(middle + half, abs=1e-9)


def test_a_share_that_nothing_speaks_against_still_has_room():
    found = clustered_share(np.repeat(np.ones(3), 10), np.repeat(np.arange(3), 10))
    assert found.low < 0.6


def test_a_rank_counts_equals_and_what_was_not_measured_as_at_least_as_good():
    nulls = np.array([0.1, 0.5, math.nan, 0.9])
    assert rank_p(0.5, nulls) == (1 + 3) / 5
    assert rank_p(1.0, nulls) == (1 + 1) / 5
    assert math.isnan(rank_p(0.5, np.empty(0)))


def test_the_interval_over_few_clusters_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(8), 6)
    hits = 0
    for _ in range(400):
        values = rng.normal(size=8)[clusters] + rng.normal(size=48)
        found = clustered_mean(values, clusters)
        hits += found.low <= 0 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_the_interval_of_a_share_over_few_clusters_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    clusters, held = np.repeat(np.arange(5), 6), 0
    for _ in range(1000):
        own = rng.beta(1.5, 1.5, size=5)[clusters]
        found = clustered_share((rng.random(30) < own).astype(float), clusters)
        held += found.low <= 0.5 <= found.high
    assert 0.94 <= held / 1000 <= 0.98
