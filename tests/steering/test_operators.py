from __future__ import annotations

import math

import pytest
import torch

from steerscope.doses import Dose, Scale
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.steering.operators import (
    OPERATORS,
    add,
    clamp,
    find_operator,
    project_out,
    rotate,
    rotate_to,
)
from tests.helpers import rounding

SCALE = Scale(natural=4.0, relative=20.0)
UNIT = torch.tensor([1.0, 0.0, 0.0])
X = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 5.0]])


def random_activations(d=16, n=50):
    generator = torch.Generator().manual_seed(3)
    unit = torch.randn(d, generator=generator)
    return 7 * torch.randn(n, d, generator=generator), unit / unit.norm()


def degrees_from(x, unit):
    return torch.rad2deg(torch.acos((x @ unit / x.norm(dim=-1)).clamp(-1, 1)))


def test_each_operator_by_hand():
    assert add(X, UNIT, 2.0).tolist() == [[5.0, 4.0, 0.0], [2.0, 0.0, 5.0]]
    assert project_out(X, UNIT, 0.0).tolist() == [[0.0, 4.0, 0.0], [0.0, 0.0, 5.0]]
    assert clamp(X, UNIT, -1.0).tolist() == [[-1.0, 4.0, 0.0], [-1.0, 0.0, 5.0]]
    torch.testing.assert_close(
        rotate(X, UNIT, 90.0)[1:], torch.tensor([[5.0, 0.0, 0.0]]), atol=rounding(8, 5.0), rtol=0
    )
    half = 5 / math.sqrt(2)
    torch.testing.assert_close(
        rotate_to(X, UNIT, 45.0), torch.tensor([[half, half, 0.0], [half, 0.0, half]])
    )


@pytest.mark.parametrize("name", OPERATORS)
def test_what_sets_does_it_once_and_what_moves_stays_at_zero(name):
    operator = OPERATORS[name]
    x, unit = random_activations()
    if operator.sets:
        once = operator.apply(x, unit, 30.0)
        assert not torch.allclose(once, x)
        torch.testing.assert_close(operator.apply(once, unit, 30.0), once, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(operator.apply(x, unit, 0.0), x)
        once = operator.apply(x, unit, 3.0)
        assert not torch.allclose(operator.apply(once, unit, 3.0), once)


@pytest.mark.parametrize("name", OPERATORS)
def test_only_the_plane_of_activation_and_direction_is_touched(name):
    x, unit = random_activations()
    moved = OPERATORS[name].apply(x, unit, 30.0) - x
    rest = x - (x @ unit)[:, None] * unit
    axis = rest / rest.norm(dim=-1, keepdim=True)
    outside = moved - (moved @ unit)[:, None] * unit
    outside = outside - (outside * axis).sum(-1, keepdim=True) * axis
    assert float(outside.abs().max()) < 1e-5


@pytest.mark.parametrize("angle", [-120.0, -10.0, 25.0, 170.0])
def test_rotation_keeps_the_norm_turns_by_the_angle_and_never_past_the_unit(angle):
    x, unit = random_activations()
    turned = rotate(x, unit, angle)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    expected = (degrees_from(x, unit) - angle).clamp(0, 180)
    torch.testing.assert_close(degrees_from(turned, unit), expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 60.0, 90.0, 180.0])
def test_rotation_to_an_angle_keeps_the_norm_and_ends_there(angle):
    x, unit = random_activations()
    turned = rotate_to(x, unit, angle)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(
        degrees_from(turned, unit), torch.full((50,), angle), atol=0.05, rtol=0
    )


@pytest.mark.parametrize("turn", [rotate, rotate_to])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_an_activation_without_a_plane_to_turn_in_stays_and_gives_no_nan(turn, dtype):
    _, unit = random_activations()
    unit = unit.to(dtype)
    x = torch.stack([7 * unit, -2 * unit, 0 * unit])
    for angle in (0.0, 30.0, 90.0, 180.0):
        assert torch.equal(turn(x, unit, angle), x)
        assert turn(x, unit, angle).dtype == dtype


def test_an_amount_is_a_length_or_an_angle():
    assert find_operator("clamp").amount(Dose(-0.5, "natural"), SCALE) == -2.0
    assert find_operator("rotate").amount(Dose(15.0, "degrees"), SCALE) == 15.0
    assert find_operator("project_out").amount(None, SCALE) == 0.0


@pytest.mark.parametrize(
    ("name", "dose", "says"),
    [
        ("add", None, "needs a dose"),
        ("project_out", Dose(1.0), "takes no dose"),
        ("clamp", Dose(10.0, "degrees"), "absolute, relative, natural, not in degrees"),
        ("rotate", Dose(1.0, "natural"), "in degrees, not in natural"),
        ("add", Dose(0.3, "kl"), "not in kl; calibrate"),
        ("rotate_to", Dose(-5.0, "degrees"), "0..180"),
    ],
)
def test_a_dose_that_does_not_belong_is_refused(name, dose, says):
    with pytest.raises(BadValueError, match=says):
        find_operator(name).check(dose)


def test_an_unknown_operator_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="add, clamp, project_out, rotate, rotate_to"):
        find_operator("ablate")
