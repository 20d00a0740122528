"""The first crossing of a function that is known."""

from __future__ import annotations

import math

import pytest

from steerscope.engine.searches import first_crossing, sizes_at_kl
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


def sizes(*kls, target=0.5, starts=None, farthest=64.0):
    """What is found for some functions, and how many were asked in each round."""
    rounds = []

    def measure(some):
        rounds.append(len(some))
        return [kls[i](size) for i, size in some]

    found = sizes_at_kl(
        measure, starts or [1.0] * len(kls), target, tolerance=0.01, farthest=farthest
    )
    return found, rounds


def test_a_power_law_is_found_in_three_rounds_whatever_its_exponent():
    found, rounds = sizes(lambda s: 0.1 * s**2, lambda s: 3.0 * s, lambda s: s**4 / 9)
    assert found == pytest.approx([5**0.5, 1 / 6, 4.5**0.25], rel=0.01)
    assert rounds == [3, 3, 2]  # the square after the second


def test_one_that_bends_is_found_and_one_that_cannot_get_there_is_not():
    found, rounds = sizes(lambda s: math.tanh(s) ** 2, lambda s: min(s, 0.4), farthest=8.0)
    assert math.tanh(found[0]) ** 2 == pytest.approx(0.5, rel=0.01)
    assert math.isnan(found[1])
    assert len(rounds) <= 9


def test_one_that_is_flat_and_then_steep_is_found_within_what_it_may_become():
    def steep(s):
        return min(s, 1.0) ** 8

    for start, target in ((0.1, 0.9), (0.4, 0.5), (20.0, 0.002), (4.0, 1e-6)):
        found, rounds = sizes(steep, target=target, starts=[start])
        assert steep(found[0]) == pytest.approx(target, rel=0.01), (start, target)
        assert len(rounds) <= 9
    late = sizes(lambda s: 0.0 if s < 20 else (s - 20) ** 2, starts=[1.0])[0]
    assert late[0] == pytest.approx(20 + 0.5**0.5, rel=0.01)
    assert math.isnan(sizes(steep, target=0.9, starts=[0.01])[0][0])  # 64 times is 0.64


def test_a_first_size_that_breaks_the_model_or_does_nothing_is_no_end():
    found, _ = sizes(
        lambda s: s**2 if s < 1 else math.nan, lambda s: max(0.0, s - 2), starts=[1.0, 0.7]
    )
    assert found == pytest.approx([0.5**0.5, 2.5], rel=0.01)
    assert math.isnan(sizes(lambda s: 0.0 * s)[0][0])
    assert math.isnan(sizes(lambda s: math.nan * s)[0][0])


def test_nothing_is_asked_for_the_kl_of_nothing():
    found, rounds = sizes(lambda s: s, target=0.0)
    assert math.isnan(found[0])
    assert rounds == []
