"""The first crossing of a function that is known."""

from __future__ import annotations

import math

import pytest

from steerscope.engine.searches import first_crossing
from steerscope.errors import NotFiniteError

DOSES = (0.0, 1.0, 2.0, 4.0)


def crossing(kl, target=0.5, tolerance=0.01, doses=DOSES):
    asked = []

    def measure(some):
        asked.append(list(some))
        return [kl(dose) for dose in some]

    return first_crossing(measure, doses, target, tolerance), asked


def test_a_square_root_is_found_with_everything_measured_kept():
    found, asked = crossing(lambda a: a * a, target=2.0)
    assert found.is_close
    assert found.above == pytest.approx(math.sqrt(2), rel=0.01)
    assert found.below < math.sqrt(2) < found.above
    assert found.curve == {a: a * a for a in sorted(sum(asked, []))}


def test_the_first_interval_is_cut_into_eight_parts():
    _, asked = crossing(lambda a: a, target=0.7, tolerance=1e-9)
    assert asked[0] == list(DOSES)
    assert asked[1] == pytest.approx([i / 8 for i in range(1, 8)])
    assert asked[2] == pytest.approx([5 / 8 + i / 64 for i in range(1, 8)])


def test_the_first_of_three_crossings_counts():
    found, _ = crossing(lambda a: a if a <= 1 else abs(a - 2))
    assert found.above == pytest.approx(0.5, rel=0.011)


def test_a_jump_ends_in_a_narrow_interval_that_is_not_close():
    found, asked = crossing(lambda a: float(a >= 3))
    assert not found.is_close
    assert found.below < 3 <= found.above
    assert found.above - found.below == pytest.approx(2 / 8**8)
    assert len(asked) == 9


def test_no_crossing_and_one_at_the_smallest_dose_end_at_once():
    never, asked = crossing(lambda a: a / 100)
    assert (never.below, never.above, len(asked)) == (4.0, None, 1)
    always, asked = crossing(lambda a: 1.0 + a)
    assert (always.below, always.above, len(asked)) == (None, 0.0, 1)


def test_only_a_nan_before_the_crossing_matters():
    found, _ = crossing(lambda a: a if a < 2 else math.nan)
    assert found.is_close
    with pytest.raises(NotFiniteError, match="nan at a dose of 2, before it reaches 3 nats"):
        crossing(lambda a: a if a < 2 else math.nan, target=3.0)
