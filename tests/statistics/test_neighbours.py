"""Items alike to their neighbours: their orders in pieces, and how often unrelated curves are told."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from steerscope.statistics import (
    curve_correlation,
    every_block_order,
    interval_by_chance,
    random_block_orders,
)
from steerscope.studies.predictors.over_layers import grouped_correlation
from steerscope.studies.predictors.thresholds import judge_threshold


def kept(order):
    """How many of the items stand beside one of their two neighbours on the circle."""
    n = len(order)
    return sum(
        (a - b) % n in {1, n - 1} for a, b in zip(order, [*order[1:], order[0]], strict=True)
    )


def test_every_order_is_there_once_and_keeps_most_neighbours():
    for n in (1, 2, 5, 8):
        orders = every_block_order(n)
        assert (np.sort(orders, axis=1) == np.arange(n)).all()
        assert len(set(map(tuple, orders))) == len(orders)
        assert (orders == np.arange(n)).all(axis=1).any()
        assert min(map(kept, orders)) >= n - 4
    assert len(every_block_order(3)) == math.factorial(3)
    assert len(every_block_order(8)) < math.factorial(8) / 4


def test_random_orders_are_some_of_them_and_reach_all():
    rng = np.random.default_rng(0)
    assert random_block_orders(0, 3, rng).shape == (3, 0)
    for n in (1, 2, 6):
        drawn = {tuple(map(int, o)) for o in random_block_orders(n, 20000, rng)}
        assert drawn == {tuple(map(int, o)) for o in every_block_order(n)}
    many = random_block_orders(40, 200, rng)
    assert (np.sort(many, axis=1) == np.arange(40)).all()
    assert min(map(kept, many)) >= 36


def test_the_interval_holds_zero_where_p_is_above_its_level_and_is_by_hand():
    chance = np.array([math.nan, *np.linspace(-0.5, 0.5, 59)])
    low, high = interval_by_chance(0.6, chance)
    width = np.quantile(np.append(np.abs(chance[1:]), 0.6), 0.95, method="higher")
    assert 0.4 < width <= 0.5
    assert math.atanh(0.6) - math.atanh(low) == pytest.approx(math.atanh(width))
    assert math.atanh(high) - math.atanh(0.6) == pytest.approx(math.atanh(width))
    assert low > 0
    assert interval_by_chance(0.4, chance)[0] < 0
    assert interval_by_chance(0.2, np.array([1.0, 0.0])) == (-1.0, 1.0)
    assert all(map(math.isnan, interval_by_chance(0.0, np.zeros(9))))
    rng = np.random.default_rng(0)
    for n in (5, 10, 18, 50, 101):
        for _ in range(40):
            chance, rho = rng.uniform(-0.6, 0.6, n), rng.uniform(-0.6, 0.6)
            p = (1 + (np.abs(chance) >= abs(rho)).sum()) / (1 + n)
            assert p <= 0.05 or np.prod(interval_by_chance(rho, chance)) <= 0
    assert all(map(math.isnan, interval_by_chance(1.0, chance)))
    assert all(map(math.isnan, interval_by_chance(0.5, np.array([math.nan]))))


def curves(rng, n_layers, likeness=0.8):
    """A curve over layers that is alike to its neighbours."""
    x = [rng.normal()]
    for _ in range(n_layers - 1):
        x.append(likeness * x[-1] + math.sqrt(1 - likeness**2) * rng.normal())
    return np.array(x)


@pytest.fixture(scope="module")
def unrelated():
    """Pairs of curves of 30 layers that have nothing to do with each other."""
    rng = np.random.default_rng(0)
    return [
        pd.DataFrame(
            {"model": "m", "concept": "c", "layer": range(30), "x": curves(rng, 30)}
        ).assign(y=curves(rng, 30))
        for _ in range(300)
    ]


def test_unrelated_curves_are_seldom_told_where_single_layers_shuffled_tell_them_often(unrelated):
    found = [grouped_correlation(t, "x", "y", n_resamples=200) for t in unrelated]
    assert np.mean([f.p <= 0.05 for f in found]) < 0.09
    assert np.mean([f.low <= 0 <= f.high for f in found]) > 0.9
    rng = np.random.default_rng(1)
    orders = np.array([rng.permutation(30) for _ in range(200)])
    told = 0
    for t in unrelated:
        x, y = (t[c].rank().to_numpy() - 15.5 for c in "xy")
        told += np.mean(np.abs(y[orders] @ x) >= abs(x @ y)) <= 0.05
    assert told / len(unrelated) > 0.2


def test_unrelated_layers_with_controls_held_fixed_are_told_in_five_percent():
    """Of 8 layers two controls leave 5 degrees of freedom; residuals only dealt out told 13 %."""
    rng = np.random.default_rng(0)
    names = ["x", "y", "norm"]
    found = []
    for _ in range(300):
        t = pd.DataFrame(rng.normal(size=(8, 3)), columns=names)
        t = t.assign(model="m", concept="c", layer=range(8), depth=range(8))
        found.append(grouped_correlation(t, "x", "y", controls=["depth", "norm"]))
    assert np.mean([f.p <= 0.05 for f in found]) < 0.085
    assert np.mean([f.low <= 0 <= f.high for f in found]) > 0.915


def test_a_related_curve_is_told():
    rng = np.random.default_rng(2)
    told = []
    for _ in range(60):
        y = curves(rng, 30)
        t = pd.DataFrame({"model": "m", "concept": "c", "layer": range(30), "y": y})
        t["x"] = 0.8 * y + 0.6 * curves(rng, 30)
        told.append(grouped_correlation(t, "x", "y", n_resamples=200).p <= 0.05)
    assert np.mean(told) > 0.7


def test_a_threshold_of_an_unrelated_curve_is_seldom_told(unrelated):
    found = [
        judge_threshold(t.assign(y=t.y - t.y.min()), diagnostic="x", outcome="y", n_resamples=200)
        for t in unrelated[:150]
    ]
    assert np.mean([f.p <= 0.05 for f in found if math.isfinite(f.p)]) < 0.1


def test_layers_without_a_value_say_nothing_for_or_against_a_threshold():
    """Of an unrelated diagnostic that is missing here and there, p is evenly spread: its mean is one half."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(60):
        t = pd.DataFrame({"concept": np.repeat(["a", "b", "c"], 20), "layer": [*range(20)] * 3})
        t = t.assign(model="m", x=rng.normal(size=60), y=rng.uniform(size=60))
        t.loc[rng.random(60) < 0.2, "x"] = math.nan
        parts.append(judge_threshold(t, diagnostic="x", outcome="y", n_resamples=200))
    assert 0.4 < np.mean([found.p for found in parts]) < 0.6
    assert all(found.low <= found.auc <= found.high for found in parts)


def test_a_correlation_of_two_curves_is_that_of_a_league_of_one_concept(unrelated):
    t = unrelated[0]
    league, curve = (
        grouped_correlation(t, "x", "y", n_resamples=2000),
        curve_correlation(t.x.to_numpy(), t.y.to_numpy(), n_orders=2000),
    )
    assert curve.rho == pytest.approx(league.rho)
    assert curve.p == pytest.approx(league.p)
    assert (curve.low, curve.high) == pytest.approx((league.low, league.high))
    few = curve_correlation(np.array([1.0, 2, 3, math.nan]), np.array([2.0, 1, 3, 5]))
    assert few.n == 3
    assert math.isnan(few.rho)
    assert math.isnan(curve_correlation(np.ones(6), np.arange(6.0)).rho)
    line = curve_correlation(np.arange(6.0), np.arange(6.0) ** 2)
    assert line.rho == pytest.approx(1)
    assert line.p == pytest.approx(2 / len(every_block_order(6)))
