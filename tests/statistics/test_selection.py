from __future__ import annotations

import numpy as np
import pytest

from steerscope.errors import NotFiniteError, TooLittleDataError
from steerscope.statistics import best_cell, winners


def test_the_corrected_best_by_hand():
    # Halves with prompt 0 choose cell 0, the other three cell 1. Prompt 0 is thus scored by cell 1,
    # at 1; any other prompt by two halves with prompt 0, at 0, and one without, at 1.
    values = np.array([[8.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    found = best_cell(values, n_splits=4000)
    assert (found.cell, found.naive.value) == (0, 2.0)
    assert found.corrected.value == pytest.approx((1 + 3 / 3) / 4, abs=0.01)
    assert found.same_share == pytest.approx(0.5, abs=0.02)


def test_a_best_cell_without_rival_needs_no_correction():
    values = np.stack([np.arange(9.0) + 100, np.arange(9.0)])
    found = best_cell(values)
    assert found.same_share == 1.0
    assert found.corrected.value == pytest.approx(found.naive.value) == pytest.approx(104.0)
    assert found.corrected.high == pytest.approx(found.naive.high)


def test_of_cells_within_the_margin_the_first_wins():
    values = np.array([[0.0, 0.0], [9.9, 9.9], [10.0, 10.0]])
    everyone = np.ones((1, 2), bool)
    assert winners(values, everyone).tolist() == [2]
    assert winners(values, everyone, margin=0.02).tolist() == [1]
    # Below zero the margin is a share of the size too.
    assert winners(-values[1:], everyone, margin=0.02).tolist() == [0]


def test_the_corrected_interval_covers_what_the_chosen_cell_is_worth_and_the_naive_does_not():
    rng = np.random.default_rng(0)
    naive = corrected = 0
    for seed in range(100):
        truth = rng.normal(0.0, 0.1, size=24)
        shared = rng.normal(size=40)
        values = truth[:, None] + 0.6 * shared + 0.8 * rng.normal(size=(24, 40))
        found = best_cell(values, seed=seed, n_splits=100)
        worth = truth[found.cell]
        naive += found.naive.low <= worth <= found.naive.high
        corrected += found.corrected.low <= worth <= found.corrected.high
    assert corrected >= 93
    assert naive < 80


def test_too_few_prompts_and_holes_are_refused():
    with pytest.raises(TooLittleDataError, match="4 prompts, got 2 and 3"):
        best_cell(np.ones((2, 3)))
    with pytest.raises(TooLittleDataError, match="got 0 and 9"):
        best_cell(np.ones((0, 9)))
    with pytest.raises(NotFiniteError, match="lacks some of the prompts"):
        best_cell(np.array([[1.0, np.nan, 1.0, 1.0]]))
