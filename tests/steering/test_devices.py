"""A model laid over several devices: what acts at a site goes to where the site's activations are."""

from __future__ import annotations

import pytest
import torch

from steerscope.doses import Dose
from steerscope.models.lens_model import LensModel
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Rows, Steering, steer
from steerscope.steering.one_batch import attach_cells
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import CosineGate, Ramp
from tests.helpers import random_direction

TOKENS = torch.tensor([[1, 10, 20, 30, 40], [1, 50, 51, 52, 53], [1, 60, 61, 62, 63]])


def steerings(model):
    direction = random_direction(model, Site("resid_post", 1))
    before = random_direction(model, Site("resid_post", 0), seed=1)
    gate = CosineGate(0.0, condition=before) * Ramp(4)
    return {
        "added": Steering(direction, Dose(4.0)),
        "added at the end": Steering(direction, Dose(4.0), scope=Scope.last(2)),
        "set": Steering(direction, Dose(4.0), "clamp", Scope.from_token(20)),
        "gated": Steering(direction, Dose(4.0), "add", Scope.all(), gate),
    }


@pytest.fixture
def laid_over_several(monkeypatch):
    """Has a model name a device that none of the blocks to be steered is on."""

    def lay():
        monkeypatch.setattr(LensModel, "device", property(lambda _: torch.device("meta")))

    return lay


@pytest.mark.parametrize("kind", ["added", "added at the end", "set", "gated"])
def test_a_steering_acts_where_its_block_is(tiny, laid_over_several, kind):
    steering = steerings(tiny)[kind]

    def steered():
        with steer(tiny, steering):
            return logits_of(tiny)

    expected, plain = steered(), logits_of(tiny)
    assert not torch.equal(expected, plain)
    laid_over_several()
    assert torch.equal(steered(), expected)


def test_conditions_in_one_batch_act_where_their_block_is(tiny, laid_over_several):
    added, late, fixed, gated = steerings(tiny).values()
    cells = [(Cell((s,)), Rows(torch.tensor([i]))) for i, s in enumerate([added, late, gated])]

    def steered():
        with attach_cells(tiny, cells):
            return logits_of(tiny)

    expected = steered()
    laid_over_several()
    assert torch.equal(steered(), expected)


def logits_of(model):
    with torch.no_grad():
        found = model.transformer(TOKENS)
    return getattr(found, "logits", found)
