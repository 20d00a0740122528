from __future__ import annotations

import math

import numpy as np
import pytest

from steerscope.statistics import benjamini_hochberg, holm


def test_corrections_by_hand():
    p = np.array([0.01, 0.04, math.nan, 0.03])
    assert holm(p)[[0, 1, 3]] == pytest.approx([0.03, 0.06, 0.06])
    assert benjamini_hochberg(p)[[0, 1, 3]] == pytest.approx([0.03, 0.04, 0.04])
    assert math.isnan(holm(p)[2])
    assert math.isnan(benjamini_hochberg(p)[2])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])


def test_nothing_to_correct_stays_nothing():
    assert np.isnan(holm(np.array([math.nan]))).all()
    assert len(benjamini_hochberg(np.array([]))) == 0
