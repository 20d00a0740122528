"""Which texts are damaged by repeating themselves, by hand-made numbers."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from steerscope.judges.effects import PREFERENCE, REPEATED, TEXT_LIMITS
from steerscope.metrics import distinct_n
from steerscope.studies.steering.success import PLAIN, allowed, undamaged


def whole(plain, steered):
    """Whether each steered text is undamaged."""
    rows = pd.DataFrame([plain, steered], index=[PLAIN, "steered"])
    return undamaged({"distinct_2": rows}, [REPEATED], PLAIN).loc["steered"].tolist()


def test_a_text_that_repeats_pairs_of_tokens_more_than_plain_ones_is_damaged():
    assert whole([1.0] * 4, [1.0, 0.91, 0.89, 0.4]) == [True, True, False, False]
    spread = [1.0, 0.8, 1.0, 0.8]  # mean 0.9, standard deviation 0.115
    assert whole(spread, [0.6, 0.5, 0.9, 1.0]) == [True, False, True, True]


def test_a_text_of_one_token_repeats_nothing():
    assert math.isnan(distinct_n([7], 2))
    assert whole([1.0] * 4, [math.nan, 1.0, 0.5, math.nan]) == [True, True, False, True]


def test_a_little_repetition_is_allowed_on_the_mean_however_alike_the_plain_texts_are():
    assert allowed(pd.Series([1.0] * 8), REPEATED) == pytest.approx(0.05)
    assert allowed(pd.Series([1.0, 0.2] * 4), REPEATED) == pytest.approx(0.05)


def test_any_text_is_held_to_it_once():
    for limits in (PREFERENCE.held_to, (*TEXT_LIMITS, REPEATED)):
        assert [limit.metric for limit in limits].count("distinct_2") == 1
