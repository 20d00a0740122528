from __future__ import annotations

import math

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.calibration import calibrate, dose_in_nats
from steerscope.engine.score import kl_by_position, kl_from_plain
from steerscope.errors import BadValueError, NotFiniteError, UnknownNameError
from steerscope.metrics import kl_divergence
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import parse_strength
from tests.helpers import random_direction

PROMPTS = [[1, 5, 9], [1, 7, 20, 33, 41], [1, 8, 30]]
SITE = Site("resid_post", 1)


def kl_one_by_one(model, steering, prompts):
    """KL at every position but 0, one prompt at a time."""
    found = []
    for prompt in prompts:
        tokens = torch.tensor([model.tokens(prompt)])
        with torch.no_grad():
            plain = model.forward(tokens)
            with steer(model, steering):
                found.append(kl_divergence(model.forward(tokens), plain)[0, 1:])
    return found


@pytest.mark.parametrize("statistic", ["mean", "p95"])
@pytest.mark.parametrize("operator", ["add", "rotate"])
def test_the_target_is_reached_and_found_again_independently(tiny, operator, statistic):
    direction = random_direction(tiny, SITE)
    found = calibrate(tiny, direction, 0.2, PROMPTS, operator=operator, statistic=statistic)
    assert found.reached
    assert found.reason == ""
    again = kl_one_by_one(tiny, Steering(direction, found.required, operator), PROMPTS)
    mean = float(torch.stack([kl.mean() for kl in again]).mean())
    p95 = float(torch.cat(again).quantile(0.95))
    assert found.kl.mean == pytest.approx(mean, rel=1e-3)
    assert found.kl.p95 == pytest.approx(p95, rel=1e-3)
    assert {"mean": mean, "p95": p95}[statistic] == pytest.approx(0.2, rel=0.021)
    below = [kl for amount, kl in found.curve if amount < found.dose.value]
    assert all(getattr(kl, statistic) < 0.2 for kl in below)  # the first crossing from zero


def test_the_target_is_reached_on_the_microworld(microworld):
    direction = random_direction(microworld, Site("resid_post", 3))
    prompts = ["Mia was at the harbour late.", "Tom left for the garden early."]
    found = calibrate(microworld, direction, 0.3, prompts, scope=Scope.all() - Scope.last(2))
    assert found.reached
    scope = Scope.all() - Scope.last(2)
    cell = Cell((Steering(direction, found.dose, scope=scope),))
    assert float(kl_from_plain(microworld, prompts, [cell]).mean()) == pytest.approx(0.3, rel=0.021)
    assert found.absolute == pytest.approx(found.natural * direction.scale.natural)
    assert found.absolute == pytest.approx(found.relative * direction.scale.relative)


def test_kl_by_position_of_a_grid_is_that_of_each_cell_and_prompt_alone(tiny):
    steerings = [
        Steering(random_direction(tiny, SITE, seed=i), Dose(2.0), scope=scope)
        for i, scope in enumerate((Scope.all(), Scope.last(1)))
    ]
    found = kl_by_position(tiny, PROMPTS, [Cell((s,)) for s in steerings])
    for number, steering in enumerate(steerings):
        for kl, expected in zip(found, kl_one_by_one(tiny, steering, PROMPTS), strict=True):
            torch.testing.assert_close(kl[number], expected, atol=1e-5, rtol=1e-3)


def test_a_target_that_cannot_be_reached_is_said_and_not_raised(load):
    model = load()
    direction = random_direction(model, SITE)
    far = calibrate(model, direction, 1e6, PROMPTS)
    assert not far.reached
    assert "never exceeds" in far.reason
    assert far.kl == far.curve[-1][1]
    with pytest.raises(BadValueError, match="no dose gives 1e\\+06 nats here: the KL never"):
        assert far.required
    nowhere = calibrate(model, direction, 0.1, PROMPTS, scope=Scope.generated())
    assert not nowhere.reached
    assert "scope generated" in nowhere.reason
    at_zero = calibrate(model, direction, 1e-4, PROMPTS, operator="clamp")
    assert not at_zero.reached
    assert at_zero.dose == Dose(0.0, "absolute")
    assert "at a dose of 0 already" in at_zero.reason


def test_an_operator_without_a_dose_is_measured_and_said(load):
    model = load()
    direction = random_direction(model, SITE)
    found = calibrate(model, direction, 5.0, PROMPTS, operator="project_out")
    assert found.dose is None
    assert math.isnan(found.absolute)
    assert not found.reached
    assert "takes no dose" in found.reason
    exact = calibrate(model, direction, found.kl.mean, PROMPTS, operator="project_out")
    assert exact.reached


def test_half_the_strength_needs_twice_the_length(load):
    model, direction = load(), random_direction(load(), SITE)
    whole, half = (calibrate(model, direction, 0.2, PROMPTS, strength=s) for s in (1.0, 0.5))
    assert half.absolute == pytest.approx(2 * whole.absolute, rel=0.02)
    none = calibrate(model, direction, 0.2, PROMPTS, strength=0.0)
    assert not none.reached
    assert "at a strength above 0" in none.reason


def test_the_target_is_reached_through_a_gate_and_found_again(load):
    model, direction = load(), random_direction(load(), SITE)
    gate = parse_strength("cosine:0.0")  # opens at some of the positions
    found = calibrate(model, direction, 0.1, PROMPTS, strength=gate)
    steering = Steering(direction, found.required, strength=gate)
    again = torch.stack([kl.mean() for kl in kl_one_by_one(model, steering, PROMPTS)])
    assert float(again.mean()) == pytest.approx(0.1, rel=0.021)
    plain = calibrate(model, direction, 0.1, PROMPTS)
    assert found.absolute > plain.absolute


@pytest.mark.parametrize("operator", ["add", "clamp", "rotate"])
@pytest.mark.parametrize("strength", ["1.0", "0.5", "cosine:0.05"])
def test_nats_of_either_sign_are_those_of_the_dose_as_it_is_then_used(load, operator, strength):
    model, direction = load(), random_direction(load(), SITE)
    share = parse_strength(strength)
    for nats in (0.03, -0.03):
        dose = dose_in_nats(
            model, [direction], nats, PROMPTS, operator=operator, strength=share,
            scope=Scope.last(1) if operator == "clamp" else Scope.all(),
        )  # fmt: skip
        assert dose.value * nats > 0
        scope = Scope.last(1) if operator == "clamp" else Scope.all()
        used = Steering(direction, dose, operator, scope, share)
        again = torch.stack([kl.mean() for kl in kl_one_by_one(model, used, PROMPTS)])
        assert float(again.mean()) == pytest.approx(0.03, rel=0.021)


def test_nats_that_no_dose_of_their_sign_gives_are_refused(load):
    model, direction = load(), random_direction(load(), SITE)
    with pytest.raises(BadValueError, match="no negative number of nats"):
        dose_in_nats(model, [direction], -0.1, PROMPTS, operator="rotate_to")
    closed = parse_strength("cosine:1.0")
    with pytest.raises(BadValueError, match="at a strength above 0"):
        dose_in_nats(model, [direction], 0.1, PROMPTS, strength=closed)
    with pytest.raises(BadValueError, match="other than 0"):
        dose_in_nats(model, [direction], 0.0, PROMPTS)


@pytest.fixture
def with_kl(monkeypatch):
    """Have doses give the KL of a function instead of a model's."""

    def use(kl):
        def measured(model, prompts, cells):
            values = [kl(cell.interventions[0].dose.value) for cell in cells]
            return [torch.tensor(values)[:, None] for _ in prompts]

        monkeypatch.setattr("steerscope.engine.calibration.kl_by_position", measured)

    return use


def test_the_first_crossing_counts_where_the_kl_falls_and_rises_again(load, with_kl):
    with_kl(lambda a: a if a < 1 else abs(a - 2))
    found = calibrate(load(), random_direction(load(), SITE), 0.5, PROMPTS)
    assert found.absolute == pytest.approx(0.5, rel=0.02)
    assert found.kl.mean == pytest.approx(found.absolute)


def test_a_kl_that_jumps_over_the_target_is_said(load, with_kl):
    with_kl(lambda a: float(a >= 3))
    found = calibrate(load(), random_direction(load(), SITE), 0.5, PROMPTS)
    assert not found.reached
    assert found.absolute == pytest.approx(3.0, rel=1e-4)
    assert "jumps from 0 to 1 nats at a dose of +3 absolute" in found.reason


def test_a_target_below_the_smallest_dose_tried_is_found(load, with_kl):
    with_kl(lambda a: 1e9 * a * a)
    found = calibrate(load(), random_direction(load(), SITE), 0.5, PROMPTS)
    assert found.reached
    assert found.absolute == pytest.approx((0.5e-9) ** 0.5, rel=0.02)


def test_a_nan_before_the_target_is_named(load):
    model = load()
    huge = random_direction(model, SITE, relative=1e37)
    with pytest.raises(NotFiniteError, match="before it reaches 1e\\+06 nats"):
        calibrate(model, huge, 1e6, PROMPTS, scope=Scope.everywhere())


def test_impossible_requests_are_named(load):
    model = load()
    direction = random_direction(model, SITE)
    for target in (0.0, -1.0, math.nan):
        with pytest.raises(BadValueError, match="target KL"):
            calibrate(model, direction, target, PROMPTS)
    with pytest.raises(BadValueError, match="at least one prompt"):
        calibrate(model, direction, 1.0, [])
    with pytest.raises(BadValueError, match="no token but position 0"):
        calibrate(model, direction, 1.0, [[1]])
    with pytest.raises(UnknownNameError, match="mean, p95"):
        calibrate(model, direction, 1.0, PROMPTS, statistic="p95 ")
