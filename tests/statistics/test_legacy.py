from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from steerscope.errors import BadValueError
from steerscope.statistics.legacy import LegacyFit, legacy_fit, score_v1, score_v2, symlog

# slope, valid_frac, r2, range, score, as printed in the published tables; shares are k / n.
V1_ROWS = [(13.9, 3 / 5, 0.73, 0.0, 3.64), (-26.08, 4 / 5, 0.67, 0.0, 11.18)]
V2_ROWS = [(2.22, 7 / 9, 0.85, 5.13, 5.84), (28.2, 3 / 9, 0.18, 12.75, 7.04)]


def corners(row, slope_step):
    """All the fits that would be printed as this row."""
    slope, valid, r2, spread, _ = row
    for a, b, c in product((-0.5, 0.5), repeat=3):
        yield LegacyFit(slope + a * slope_step, r2 + b * 0.01, valid, spread + c * 0.01)


@pytest.mark.parametrize(
    ("score", "row", "slope_step"),
    [
        (score_v1, V1_ROWS[0], 0.1),
        (score_v1, V1_ROWS[1], 0.01),
        (score_v2, V2_ROWS[0], 0.01),
        (score_v2, V2_ROWS[1], 0.1),
    ],
)
def test_the_published_rows_come_out_within_their_rounding(score, row, slope_step):
    scores = [score(fit) for fit in corners(row, slope_step)]
    assert min(scores) - 0.005 <= row[-1] <= max(scores) + 0.005
    assert max(scores) - min(scores) < 0.1 * row[-1]


def test_a_score_by_hand():
    fit = LegacyFit(slope=-2.0, r2=0.5, valid_frac=0.6, spread=3.0)
    assert score_v1(fit) == pytest.approx(2.0 * 0.36 * 0.5)
    assert score_v2(fit) == pytest.approx(2.0 * 3.0 * 0.5 * 0.36)


def test_symlog_is_odd_and_known_at_e_minus_one():
    x = np.array([-(np.e - 1), 0.0, np.e - 1])
    np.testing.assert_allclose(symlog(x), [-1.0, 0.0, 1.0])


def test_a_line_in_symlog_is_recovered_and_unread_answers_count():
    coefficients = np.array([-2.0, -0.75, 0.0, 0.75, 2.0])
    log_ratios = 1.5 * symlog(coefficients) + 0.3
    fit = legacy_fit(coefficients, log_ratios)
    assert (fit.slope, fit.r2, fit.valid_frac) == pytest.approx((1.5, 1.0, 1.0))
    assert fit.spread == pytest.approx(3.0 * np.log(3.0))
    log_ratios[1] = np.nan
    assert legacy_fit(coefficients, log_ratios).valid_frac == pytest.approx(0.8)
    bent = legacy_fit(coefficients, np.array([0.0, 2.0, 1.0, 5.0, 3.0]))
    r = np.corrcoef(symlog(coefficients), [0.0, 2.0, 1.0, 5.0, 3.0])[0, 1]
    assert bent.r2 == pytest.approx(r**2)


def test_the_wrong_direction_scores_as_high_as_the_right_one():
    coefficients = np.array([-1.0, 0.0, 1.0, 2.0])
    answers = np.array([-1.0, 0.2, 0.9, 2.0])
    for score in (score_v1, score_v2):
        right, wrong = (score(legacy_fit(coefficients, s * answers)) for s in (1, -1))
        assert right == pytest.approx(wrong)
        assert right > 0


def test_a_level_answer_scores_zero():
    fit = legacy_fit(np.array([-1.0, 0.0, 1.0]), np.full(3, 0.7))
    assert fit == LegacyFit(0.0, 0.0, 1.0, 0.0)
    assert score_v1(fit) == score_v2(fit) == 0.0


def test_too_little_to_fit_is_refused():
    c = np.array([-1.0, 0.0, 1.0])
    with pytest.raises(BadValueError, match="there are 2, at 2"):
        legacy_fit(c, np.array([1.0, np.nan, 2.0]))
    with pytest.raises(BadValueError, match="there are 3, at 1"):
        legacy_fit(np.ones(3), c)
    with pytest.raises(BadValueError, match="finite"):
        legacy_fit(c, np.array([1.0, np.inf, 2.0]))
