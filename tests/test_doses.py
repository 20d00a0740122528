from __future__ import annotations

import math

import pytest

from steerscope.doses import LENGTHS, Dose, Scale, check_unit
from steerscope.errors import BadValueError, NotFiniteError, UnknownNameError

SCALE = Scale(natural=4.0, relative=20.0)


def test_each_unit_converts_by_hand_arithmetic():
    assert Dose(3.0, "absolute").absolute(SCALE) == 3.0
    assert Dose(-0.5, "natural").absolute(SCALE) == -2.0
    assert Dose(0.1, "relative").absolute(SCALE) == pytest.approx(2.0)
    assert Dose(1.0, "natural").to("relative", SCALE) == Dose(0.2, "relative")


@pytest.mark.parametrize("there", LENGTHS)
@pytest.mark.parametrize("back", LENGTHS)
def test_converting_there_and_back_changes_nothing(there, back):
    dose = Dose(1.7, back)
    assert dose.to(there, SCALE).to(back, SCALE).value == pytest.approx(1.7)


def test_an_unknown_unit_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="absolute, degrees, kl, natural, relative"):
        check_unit("naturel")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_dose_must_be_finite(value):
    with pytest.raises(NotFiniteError):
        Dose(value)


@pytest.mark.parametrize("length", [0.0, -1.0, math.nan])
def test_a_scale_must_be_positive(length):
    with pytest.raises(NotFiniteError, match="natural length"):
        Scale(natural=length, relative=1.0)


def test_what_is_no_length_is_not_converted():
    with pytest.raises(BadValueError, match=r"0.3 kl .* calibrate\(model"):
        Dose(0.3, "kl").absolute(SCALE)
    with pytest.raises(BadValueError, match="angle"):
        Dose(30.0, "degrees").to("natural", SCALE)
    with pytest.raises(BadValueError, match="outside -180..180"):
        Dose(181.0, "degrees")
