from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from steerscope.errors import TooLittleDataError
from steerscope.statistics import mixed_slope

DOSES = np.array([0.0, 1.0, 2.0, 4.0])


def rows_of(values):
    """Rows of a table of prompts by doses."""
    n = len(values)
    return (
        np.ravel(values),
        np.tile(DOSES[: len(values[0])], n),
        np.repeat(np.arange(n), len(values[0])),
    )


def prompts_with_slopes(seed=0, n=15, spread=0.5):
    rng = np.random.default_rng(seed)
    own = 0.8 + spread * rng.normal(size=(n, 1))
    return rng.normal(size=(n, 1)) + own * DOSES + 0.3 * rng.normal(size=(n, 4))


def test_the_slope_by_hand_of_two_doses():
    # Rises of 1, 2 and 3 per unit: mean 2, standard error 1 / √3, t(2) = 2 √3, t(2, 0.975) = 4.3027.
    found = mixed_slope(*rows_of([[5.0, 6.0], [0.0, 2.0], [2.0, 5.0]]))
    assert found.slope.value == pytest.approx(2.0, abs=1e-5)
    assert found.slope.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-3)
    assert found.slope.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-3)
    assert found.p == pytest.approx(0.0742, abs=1e-3)
    assert found.slope.n == 3


def test_with_own_slopes_it_is_the_t_test_of_the_slope_of_each_prompt():
    table = prompts_with_slopes()
    found = mixed_slope(*rows_of(table))
    each = np.polyfit(DOSES, table.T, 1)[0]
    assert found.slope.value == pytest.approx(each.mean(), abs=1e-6)
    assert found.p == pytest.approx(stats.ttest_1samp(each, 0).pvalue, rel=1e-2)
    half = stats.t.ppf(0.975, 14) * stats.sem(each)
    assert found.slope.high == pytest.approx(each.mean() + half, rel=1e-3)


def test_units_scale_the_slope_and_not_the_p_and_nan_is_left_out():
    values, doses, prompts = rows_of(prompts_with_slopes())
    found = mixed_slope(values, doses, prompts)
    other = mixed_slope(
        np.append(100 * values, math.nan), np.append(doses / 10, 1.0), np.append(prompts, 99)
    )
    assert other.slope.value == pytest.approx(1000 * found.slope.value, rel=1e-4)
    assert other.p == pytest.approx(found.p, rel=1e-2)
    assert other.slope.n == 15


def test_what_has_no_slope_is_refused():
    with pytest.raises(TooLittleDataError, match="at least 3 prompts and 2 doses, got 2 and 4"):
        mixed_slope(*rows_of(prompts_with_slopes(n=2)))
    with pytest.raises(TooLittleDataError, match="got 3 and 1"):
        mixed_slope(np.arange(3.0), np.ones(3), np.arange(3))
    with pytest.raises(TooLittleDataError, match="none has a slope"):
        mixed_slope(np.array([1.0, 2.0, 4.0]), np.arange(3.0), np.arange(3))
    with pytest.raises(TooLittleDataError, match="do not vary around their mean"):
        mixed_slope(*rows_of([DOSES, DOSES + 1, DOSES + 2]))
    with pytest.raises(TooLittleDataError, match="do not vary around their mean"):
        mixed_slope(*rows_of(np.zeros((5, 4))))


def test_prompts_at_one_dose_have_no_slope_and_are_not_counted():
    values, doses, prompts = rows_of(prompts_with_slopes())
    found = mixed_slope(values, doses, prompts)
    more = mixed_slope(
        np.append(values, [7.0, -3.0]), np.append(doses, [1.0, 1.0]), np.append(prompts, [90, 91])
    )
    assert more == found


def test_a_sigmoid_of_shares_has_an_interval_that_holds_its_mean_slope():
    # One switch per prompt, as flips have: the interval of repeated draws must hold the true mean.
    rng = np.random.default_rng(0)
    doses = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
    x = doses - doses.mean()

    def draw(n):
        return (rng.normal(2.0, 1.5, size=(n, 1)) < doses).astype(float)

    truth = ((draw(200_000) @ x) / (x @ x)).mean()
    held, widths = [], []
    for _ in range(400):
        table = draw(30)
        found = mixed_slope(table.ravel(), np.tile(doses, 30), np.repeat(np.arange(30), 6)).slope
        held.append(found.low <= truth <= found.high)
        widths.append(found.high - found.low)
    assert 0.91 <= np.mean(held) <= 0.98
    assert max(widths) < 10 * min(widths)
