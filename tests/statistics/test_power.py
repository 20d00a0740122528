from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from steerscope.errors import BadValueError, TooLittleDataError
from steerscope.statistics import (
    detectable_difference,
    detectable_effect,
    power_of,
    prompts_needed,
)


def test_the_power_of_many_prompts_is_that_of_the_normal_theory():
    # 10,000 prompts: the critical value is 1.96, the shift 100 × 0.02 = 2 standard errors.
    assert power_of(0.02, 1.0, 10_000) == pytest.approx(
        1 - stats.norm.cdf(1.96 - 2) + stats.norm.cdf(-1.96 - 2), abs=1e-3
    )
    assert detectable_effect(10_000, 3.0) == pytest.approx((1.95996 + 0.84162) * 0.03, rel=1e-3)
    assert power_of(0.0, 1.0, 7) == pytest.approx(0.05)


@pytest.mark.parametrize(("one_sided", "alternative"), [(False, "two-sided"), (True, "larger")])
def test_power_is_that_of_statsmodels_for_few_prompts(one_sided, alternative):
    wanted = TTestPower().power(0.6, 12, 0.01, alternative=alternative)
    assert power_of(1.2, 2.0, 12, level=0.01, one_sided=one_sided) == pytest.approx(wanted)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("level", [0.05, 0.001])
def test_effect_prompts_and_power_undo_each_other(one_sided, level):
    options = {"level": level, "one_sided": one_sided}
    for n in (5, 30, 400):
        effect = detectable_effect(n, 2.0, **options)
        assert power_of(effect, 2.0, n, **options) == pytest.approx(0.8, abs=1e-6)
        assert prompts_needed(effect * (1 + 1e-6), 2.0, **options) == n
    assert prompts_needed(100.0, 2.0, power=0.9) in {2, 3}


def test_the_detectable_difference_is_what_80_percent_of_samples_show():
    values = np.tile([-1.0, 1.0], 50)  # variance 100 / 99
    found = detectable_difference(np.append(values, math.nan))
    assert found == pytest.approx(detectable_effect(100, math.sqrt(100 / 99)))
    # The t test asks for a little more than (z + z) s / √n.
    assert found == pytest.approx((1.959964 + 0.841621) * math.sqrt(100 / 99) / 10, rel=0.02)
    assert math.isnan(detectable_difference(np.array([1.0, math.nan])))
    assert detectable_difference(np.ones(3)) == 0.0
    drawn = np.random.default_rng(0).normal(found, math.sqrt(100 / 99), size=(4000, 100))
    assert float((stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()) == pytest.approx(
        0.8, abs=0.02
    )


def test_what_has_no_power_is_refused():
    with pytest.raises(TooLittleDataError, match="at least 2 prompts, got 1"):
        power_of(1.0, 1.0, 1)
    with pytest.raises(BadValueError, match="positive number"):
        detectable_effect(10, 0.0)
    with pytest.raises(BadValueError, match="between the level"):
        prompts_needed(1.0, 1.0, power=0.01)
    with pytest.raises(BadValueError, match="between 0 and 1"):
        power_of(1.0, 1.0, 9, level=0.0)
    with pytest.raises(BadValueError, match="no number of prompts"):
        prompts_needed(-1.0, 1.0, one_sided=True)
    with pytest.raises(BadValueError, match="no number of prompts"):
        prompts_needed(0.0, 1.0)
