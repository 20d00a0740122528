from __future__ import annotations

import json
import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from steerscope.statistics import (
    auroc,
    auroc_estimate,
    bootstrap_mean,
    bootstrap_ratio,
    crossing,
    linear_correlation,
    max_mean,
    max_statistic,
    rank_correlation,
    sign_flip,
    sign_flip_p,
    wilson,
)
from steerscope.studies.predictors.findings import EXPECTED_SIGNS


def test_wilson_by_hand():
    # p = 8/10, z = 1.959964: centre (0.8 + z²/20) / (1 + z²/10), half-width by the same formula
    z = 1.959963984540054
    centre = (0.8 + z**2 / 20) / (1 + z**2 / 10)
    half = z / (1 + z**2 / 10) * math.sqrt(0.8 * 0.2 / 10 + z**2 / 400)
    found = wilson(8, 10)
    assert (found.value, found.n) == (0.8, 10)
    assert found.low == pytest.approx(centre - half)
    assert found.high == pytest.approx(centre + half)


def test_wilson_of_nothing_is_nan():
    assert math.isnan(wilson(0, 0).value)


def test_the_bootstrap_interval_is_that_of_the_normal_theory_for_many_items():
    values = np.random.default_rng(0).normal(2.0, 1.0, size=4000)
    found = bootstrap_mean(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_bootstrap_leaves_nan_out_and_says_how_many_are_left():
    found = bootstrap_mean(np.array([1.0, math.nan, 3.0]))
    assert (found.value, found.n) == (2.0, 2)
    assert math.isnan(bootstrap_mean(np.array([math.nan])).value)
    assert math.isnan(bootstrap_mean(np.array([1.0])).low)


def test_max_statistic_of_one_cell_is_the_exact_sign_flip_test():
    values = np.array([[0.3, 0.8, -0.1, 0.9, 0.4, 0.2, 0.7, -0.3]])
    flips = np.array(list(np.ndindex(*(2,) * 8))) * 2 - 1
    n = values.shape[1]
    t = (flips * values).mean(axis=1) / np.sqrt((flips * values).var(axis=1) / (n - 1))
    exact = (t >= t[-1] - 1e-12).mean()
    assert max_statistic(values, n_flips=40_000)[0] == pytest.approx(exact, abs=0.01)


def test_what_is_not_known_of_a_cell_is_no_evidence():
    cells = np.array([[0.1, -0.2, 0.1, 0.0], [0.4, math.nan, 0.5, 0.6]])
    one = sign_flip(cells)
    assert one[0] == sign_flip(cells[:1])[0]
    assert math.isnan(one[1])
    for corrected in (max_statistic, max_mean):  # the largest of the cells is not known either
        assert np.isnan(corrected(cells)).all()


def test_max_statistic_keeps_its_level_over_many_cells_and_finds_a_real_one():
    rng = np.random.default_rng(1)
    smallest = [
        max_statistic(rng.normal(size=(30, 20)), n_flips=400, seed=i).min() for i in range(200)
    ]
    assert np.mean(np.array(smallest) <= 0.05) < 0.11  # level 0.05, binomial spread of 200 runs
    with_effect = rng.normal(size=(30, 20))
    with_effect[7] += 2.0
    p = max_statistic(with_effect)
    assert p.argmin() == 7
    assert p[7] < 0.01


def test_a_correlation_is_spearmans_with_the_exact_permutation_p():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    y = np.array([2.0, 1.0, 4.0, 3.0, 6.0, 5.0])
    rho = 1 - 6 * 6 / (6 * 35)  # d² = 1 six times
    found = rank_correlation(x, y)
    all_rhos = [stats.spearmanr(x, p).statistic for p in permutations(y)]
    assert found.rho == pytest.approx(rho)
    assert found.p == pytest.approx(np.mean(np.abs(all_rhos) >= rho - 1e-12))
    assert found.n == 6
    assert rank_correlation(x, -y).rho == pytest.approx(-rho)


def test_the_published_eigengap_table_gives_its_published_correlation():
    gaps = np.array([0.6827, 0.7208, 0.7682, 0.7271, 0.7111, 0.7041])
    effects = np.array([0.02682, 0.02742, 0.03089, 0.03263, 0.03036, 0.02560])
    found = rank_correlation(gaps, effects)
    assert found.rho == pytest.approx(0.829, abs=1e-3)
    assert found.p > 0.05  # exact permutation of six points, not the approximate 0.042
    assert found.low < 0.5


def test_many_items_use_random_permutations():
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    found = rank_correlation(x, x + rng.normal(size=60))
    reference = stats.spearmanr(x, x + 0 * x)
    assert reference.statistic == 1.0
    assert 0.4 < found.rho < 0.95
    assert found.low < found.rho < found.high
    assert found.p < 0.001


def test_too_few_or_constant_points_have_no_correlation():
    assert math.isnan(rank_correlation(np.arange(3.0), np.arange(3.0)).rho)
    assert math.isnan(rank_correlation(np.ones(6), np.arange(6.0)).p)
    perfect = rank_correlation(np.arange(4.0), np.array([1.0, 3.0, 4.0, 9.0]))
    assert (perfect.rho, perfect.p) == (pytest.approx(1.0), pytest.approx(2 / 24))
    assert np.isnan([perfect.low, perfect.high]).all()  # four in order are not sure


def test_crossing_interpolates():
    doses, effects = np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.4, 0.8])
    assert crossing(doses, effects, 0.5) == pytest.approx(1.25)
    assert crossing(doses, effects, 0.0) == 0.0
    assert math.isnan(crossing(doses, effects, 0.9))
    assert crossing(doses[::-1], effects[::-1], 0.5) == pytest.approx(1.25)


def test_sign_flips_of_equal_differences_have_the_p_of_all_signs_alike():
    assert sign_flip_p(np.full(5, 2.0), n_flips=20000) == pytest.approx(2 / 32, abs=0.006)
    assert sign_flip_p(np.array([1.0, -1.0])) == 1.0
    assert math.isnan(sign_flip_p(np.array([1.0])))


@pytest.mark.parametrize("n", [4, 6, 8])
def test_no_test_by_signs_reaches_what_the_signs_of_its_items_cannot(n):
    rng = np.random.default_rng(n)
    alike = np.tile(rng.random((10, 1)), n)
    for differences in (alike, alike * (1 + 1e-6 * rng.normal(size=alike.shape))):
        least = 0.8 / 2**n
        assert sign_flip(differences).min() > least
        assert max_statistic(differences).min() > least
        assert min(map(sign_flip_p, differences)) > least


# Smallest gap and effect of GPT-2's layers 6 to 11. Source: FF-GardenFn/kernel-ridge-steering (MIT).
PUBLISHED_GAPS = np.array([0.68270, 0.72075, 0.76823, 0.72707, 0.71110, 0.70411])
PUBLISHED_EFFECTS = np.array([0.026820, 0.027416, 0.030892, 0.032628, 0.030364, 0.025599])


def test_the_published_eigengap_claim_comes_out_against_itself():
    found = linear_correlation(PUBLISHED_GAPS, PUBLISHED_EFFECTS)
    assert found.rho == pytest.approx(0.61, abs=0.005)
    assert found.p == pytest.approx(0.199, abs=0.002)
    assert (found.low, found.high) == pytest.approx((-0.40, 0.95), abs=0.005)
    assert found.n == 6
    assert np.sign(found.rho) == -EXPECTED_SIGNS["weakest_gap"]
    assert (PUBLISHED_GAPS <= 0.77).all()  # the published threshold passes every layer


def test_the_published_numbers_are_those_of_the_stored_table(shared):
    golden = json.loads((shared / "goldens/eigengap_gpt2.json").read_text())["layers"]
    for row, gap, effect in zip(golden, PUBLISHED_GAPS, PUBLISHED_EFFECTS, strict=True):
        assert min(row["gaps"]) == row["min_gap"] == pytest.approx(gap, abs=1e-5)
        assert np.mean(row["gaps"]) == pytest.approx(row["mean_gap"], abs=1e-6)
        assert row["steering_effect"] == pytest.approx(effect, abs=1e-6)


def test_fishers_interval_by_hand_and_nothing_of_too_few_points():
    x, y = np.arange(10.0), np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 9.0])
    found = linear_correlation(x, y)
    z, step = math.atanh(found.rho), 1.959963984540054 / math.sqrt(7)
    assert (found.low, found.high) == pytest.approx((math.tanh(z - step), math.tanh(z + step)))
    assert found.rho == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert math.isnan(linear_correlation(x[:3], y[:3]).p)


def test_a_ratio_of_sums_and_its_interval():
    found = bootstrap_ratio(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 8.0]))
    assert (found.value, found.n) == (0.5, 3)
    assert found.low == pytest.approx(0.375, abs=0.01)  # the third alone
    assert found.high == pytest.approx(1.0, abs=0.01)  # the second alone
    assert math.isnan(bootstrap_ratio(np.ones(3), np.zeros(3)).value)


def test_auroc_counts_pairs_in_the_right_order():
    scores = np.array([[3.0, 1.0], [2.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    positive = np.array([True, False, True, False])
    assert auroc(scores, positive).tolist() == [0.75, 0.5]  # three of four pairs; all ties
    assert math.isnan(auroc(scores, np.ones(4, dtype=bool))[0])
    rng = np.random.default_rng(0)
    label = rng.random(600) < 0.5
    scores = rng.normal(size=600) + 1.0 * label
    estimate = auroc_estimate(scores, label)
    assert estimate.low < 0.7602 < estimate.high  # Φ(1/√2)


def test_a_perfect_order_of_few_items_is_not_certain():
    """Three disjoint pairs are all in order in 2.5 % of cases where each is by a chance of 0.025^(1/3) = 0.292."""
    scores, label = np.arange(6.0), np.arange(6) > 2
    perfect = auroc_estimate(scores, label)
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.2924, abs=1e-4)
    mirrored = auroc_estimate(-scores, label)
    assert (mirrored.value, mirrored.low) == (0.0, 0.0)
    assert mirrored.high == pytest.approx(1 - 0.2924, abs=1e-4)
    tied = auroc_estimate(0 * scores, label)
    assert (tied.low + tied.high, tied.value) == (pytest.approx(1), 0.5)
    assert tied.low == pytest.approx(0.1462, abs=1e-4)
    twice = auroc_estimate(np.repeat(scores, 2), np.repeat(label, 2), groups=np.arange(12) // 2)
    assert twice.low == pytest.approx(perfect.low)  # as many groups, and no more is known


def test_a_small_sample_of_a_good_score_seldom_shuts_the_truth_out():
    """Of 5 against 5 with an AUC of 0.95 half are in perfect order."""
    rng = np.random.default_rng(3)
    label = np.arange(10) < 5
    truth = stats.norm.cdf(2.326 / math.sqrt(2))
    found = [auroc_estimate(rng.normal(size=10) + 2.326 * label, label) for _ in range(200)]
    assert np.mean([f.low <= truth <= f.high for f in found]) > 0.9


@pytest.mark.parametrize("n_groups", [2, 4, 6])
def test_few_groups_of_several_texts_hold_the_truth_of_an_auroc(n_groups):
    rng = np.random.default_rng(n_groups)
    label, groups = np.repeat([True, False], 4 * n_groups), np.repeat(np.arange(2 * n_groups), 4)
    found = []
    for _ in range(200):
        of_group = np.repeat(rng.normal(size=2 * n_groups), 4)
        scores = math.sqrt(0.6) * of_group + math.sqrt(0.4) * rng.normal(size=len(label)) + label
        found.append(auroc_estimate(scores, label, groups=groups, n_resamples=300))
    truth = stats.norm.cdf(1 / math.sqrt(2))
    assert np.mean([f.low <= truth <= f.high for f in found]) > 0.92
    assert all(f.low <= f.value <= f.high for f in found)


def test_texts_that_say_the_same_widen_no_interval_of_an_auroc():
    rng = np.random.default_rng(1)
    label = np.arange(24) % 2 == 0
    scores = np.round(rng.normal(size=24) + 0.8 * label, 1)  # with ties
    alone = auroc_estimate(scores, label)
    thrice = [np.repeat(values, 3) for values in (scores, label, np.arange(24))]
    grouped = auroc_estimate(thrice[0], thrice[1], groups=thrice[2])
    assert (grouped.value, grouped.low, grouped.high) == pytest.approx(
        (alone.value, alone.low, alone.high)
    )
    taken_for_new = auroc_estimate(thrice[0], thrice[1])
    assert taken_for_new.high - taken_for_new.low < 0.8 * (alone.high - alone.low)
