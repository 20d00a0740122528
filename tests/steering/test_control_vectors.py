"""Several layers at once: one control vector acts as its parts do together, at one coefficient."""

from __future__ import annotations

import math

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.calibration import calibrate
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Greedy
from steerscope.engine.score import kl_from_plain
from steerscope.errors import BadValueError
from steerscope.sites import Site
from steerscope.steering.control_vectors import ControlVector, along, numbers_in_words
from steerscope.steering.interventions import Cell, Intervention, Steering, steer
from tests.helpers import count_hooks, random_direction

PROMPTS = ["w10 w11 w12 w13", "w20 w21 w22", "w30 w31 w32 w33"]


@pytest.fixture
def directions(tiny):
    return tuple(
        random_direction(tiny, Site("resid_post", layer), seed=layer, natural=1.0 + layer)
        for layer in range(3)
    )


def test_a_control_vector_moves_as_its_parts_do_together_and_leaves_no_trace(tiny, directions):
    tokens = torch.tensor([tiny.tokens(PROMPTS[0])])
    plain, hooks = tiny.forward(tokens), count_hooks(tiny)
    parts = [Steering(d, Dose(0.5)) for d in directions]
    with steer(tiny, *parts):
        apart = tiny.forward(tokens)
    with steer(tiny, ControlVector(directions, Dose(0.5))):
        together = tiny.forward(tokens)
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(together, plain, atol=1e-2)
    assert torch.equal(tiny.forward(tokens), plain)
    assert count_hooks(tiny) == hooks


def test_no_dose_is_no_change_and_in_a_grid_it_is_as_alone(tiny, directions):
    tokens = torch.tensor([tiny.tokens(PROMPTS[0])])
    with steer(tiny, ControlVector(directions, Dose(0.0))):
        assert torch.equal(tiny.forward(tokens), tiny.forward(tokens))
    cells = [
        Cell(),
        Cell((ControlVector(directions, Dose(1.0)),)),
        Cell((Steering(directions[1], Dose(2.0)),)),
    ]
    grid = generate(tiny, PROMPTS, cells, n_new=6, sampler=Greedy())
    for cell, together in zip(cells, grid, strict=True):
        [alone] = generate(tiny, PROMPTS, [cell], n_new=6, sampler=Greedy())
        assert [c.tokens for c in alone] == [c.tokens for c in together]


def test_lengths_are_those_of_one_vector_over_all_sites(load):
    model = load()
    found = tuple(
        random_direction(model, Site("resid_post", i), natural=n, relative=r)
        for i, n, r in ((0, 3.0, 6.0), (2, 4.0, 8.0))
    )
    labels = ControlVector(found, Dose(-2.0)).labels()
    assert labels["dose_absolute"] == pytest.approx(-10.0)  # -2 * hypot(3, 4)
    assert labels["dose_relative"] == pytest.approx(-1.0)
    assert labels["dose_natural"] == pytest.approx(-2.0)
    assert (labels["layer"], labels["layers"]) == (-1, "0,2")
    assert labels["method"] == "several_layers(random)"
    one_each = ControlVector(found, Dose(1.0, "absolute")).labels()
    assert one_each["dose_absolute"] == pytest.approx(math.sqrt(2))
    assert isinstance(ControlVector(found, Dose(1.0)), Intervention)
    assert ControlVector(found, Dose(1.0)).first_block(4) == 1
    angle = ControlVector(found, Dose(30.0, "degrees"), "rotate").labels()
    assert math.isnan(angle["dose_natural"])
    assert angle["dose_degrees"] == 30.0


def test_a_coefficient_is_calibrated_over_all_layers(tiny, directions):
    found = calibrate(tiny, directions, 0.05, PROMPTS)
    assert found.reached, found.reason
    assert found.dose.unit == "natural"
    kl = kl_from_plain(tiny, PROMPTS, [Cell((ControlVector(directions, found.dose),))]).mean()
    assert float(kl) == pytest.approx(0.05, rel=0.03)
    assert found.absolute == pytest.approx(found.dose.value * math.sqrt(1 + 4 + 9))


def test_one_direction_is_a_steering_and_wrong_ones_are_refused(load):
    model = load()
    one = random_direction(model, Site("resid_post", 1))
    assert along([one], Dose(1.0)) == Steering(one, Dose(1.0))
    with pytest.raises(BadValueError, match="two directions at resid_post.1"):
        along([one, one], Dose(1.0))
    with pytest.raises(BadValueError, match="at least one direction"):
        ControlVector(())
    assert numbers_in_words([4, 0, 1, 2]) == "0-2,4"
