"""Agreement of readers: by hand, at chance, and with readings left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steerscope.statistics.agreement import cohens_kappa, krippendorffs_alpha

NAN = math.nan


def test_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    a = np.repeat([1.0, 1, 0, 0], [20, 5, 10, 15])
    b = np.repeat([1.0, 0, 1, 0], [20, 5, 10, 15])
    found = cohens_kappa(a, b)
    assert found.value == pytest.approx((0.7 - 0.5) / 0.5)
    assert found.low < found.value < found.high
    assert found.n == 50


def test_alpha_by_hand():
    # Three items of two readers, (1, 1), (0, 0), (1, 0): 2 differing pairs of 6 readings, and by
    # chance 2 * 3 * 3 / 5 = 3.6, so that 1 - 2 / 3.6.
    found = krippendorffs_alpha(np.array([[1.0, 1], [0, 0], [1, 0]]))
    assert found.value == pytest.approx(1 - 2 / 3.6)
    # A third reader of the first item alone, who agrees: still 2, and 2 * 4 * 3 / 6 = 4 by chance.
    more = krippendorffs_alpha(np.array([[1, 1, 1], [0, 0, NAN], [1, 0, NAN], [1, NAN, NAN]]))
    assert more.value == pytest.approx(1 - 2 / 4)
    assert more.n == 3


def test_the_same_readings_agree_wholly_and_opposite_ones_less_than_chance():
    a = np.array([1.0, 0, 1, 0, 1])
    assert cohens_kappa(a, a).value == krippendorffs_alpha(np.column_stack([a, a])).value == 1.0
    assert cohens_kappa(a, 1 - a).value < -0.8


def test_readers_who_toss_coins_agree_by_chance():
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=(2, 2000)).astype(float)
    assert abs(cohens_kappa(a, b).value) < 0.06
    assert abs(krippendorffs_alpha(np.column_stack([a, b])).value) < 0.06


def test_nothing_is_known_of_one_value_or_of_one_item():
    ones = np.ones(5)
    assert math.isnan(cohens_kappa(ones, ones).value)
    assert math.isnan(krippendorffs_alpha(np.ones((5, 2))).value)
    assert math.isnan(cohens_kappa(np.array([1.0]), np.array([1.0])).value)
    assert cohens_kappa(np.array([1.0, NAN, 0, 1]), np.array([1.0, 1, 0, NAN])).n == 2


def test_agreement_on_few_items_is_not_taken_for_certain():
    two = cohens_kappa(np.array([1.0, 0]), np.array([1.0, 0]))
    assert (two.value, two.n) == (1.0, 2)
    assert two.low < 0.0
    alpha = krippendorffs_alpha(np.array([[1.0, 1, NAN], [0, 0, 0]]))
    assert alpha.low < 0.5 < alpha.value == 1.0
    a = np.tile([1.0, 0], 200)
    assert cohens_kappa(a, a).low > 0.97


def test_few_prompts_of_several_texts_hold_the_true_agreement():
    """One reader copies the other with probability 0.6, which is kappa, alike within a prompt; else says either."""
    rng, held, clusters = np.random.default_rng(0), 0, np.repeat(np.arange(5), 5)
    for _ in range(100):
        mine = (rng.random(25) < 0.5).astype(float)
        alike = np.where(rng.random(25) < 0.5, rng.random(5)[clusters], rng.random(25))
        other = np.where(alike < 0.6, mine, (rng.random(25) < 0.5).astype(float))
        found = cohens_kappa(mine, other, clusters)
        held += found.low <= 0.6 <= found.high
    assert held >= 90
