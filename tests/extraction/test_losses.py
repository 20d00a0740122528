from __future__ import annotations

import math

import pytest
import torch

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.extraction.losses import (
    LOSSES,
    BoundedSeparation,
    Margin,
    PreferenceLoss,
    Separation,
    find_loss,
    margin_loss,
    mean_log_likelihood,
    separation_loss,
    shortfall_penalty,
)
from steerscope.extraction.pair_losses import BoundedMargin, Hinge, Reference
from tests.helpers import rounding


def test_the_mean_likelihood_by_hand():
    # Two tokens to predict, with probabilities 1/4 and 1/2; the last logits must not matter.
    logits = torch.tensor([[[0.0, math.log(3.0)], [1.0, 1.0], [7.0, -7.0]]])
    tokens = torch.tensor([[1, 0, 1]])
    expected = (math.log(1 / 4) + math.log(1 / 2)) / 2
    assert float(mean_log_likelihood(logits, tokens)[0]) == pytest.approx(expected)
    with pytest.raises(BadValueError, match="one token has no likelihood"):
        mean_log_likelihood(logits[:, :1], tokens[:, :1])


def test_the_margin_loss_by_hand():
    likelihood = torch.tensor([[-1.0, -2.0], [-2.0, -1.0]])
    found = margin_loss(likelihood, beta=2.0, gamma=0.25)
    # beta (1 - 0.25) = 1.5 and beta (-1 - 0.25) = -2.5
    expected = [math.log(1 + math.exp(-1.5)), math.log(1 + math.exp(2.5))]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert torch.equal(found, Margin()(likelihood, torch.zeros(2, 2, 3)))


def test_the_separation_by_hand():
    state = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]], requires_grad=True)
    found = separation_loss(state)
    torch.testing.assert_close(found, torch.tensor([-5.0, 0.0]))
    found.sum().backward()
    expected = torch.tensor([[[-0.6, -0.8], [0.6, 0.8]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(state.grad, expected)


def test_the_bound_costs_nothing_inside_its_margin_and_the_squared_excess_outside():
    plain = torch.tensor([[-1.0, -2.0]])
    cases = [
        ([-1.0, -2.0], 0.0),  # as it was
        ([-0.2, -1.0], 0.0),  # likelier
        ([-1.5, -2.5], 0.0),  # on the margin
        ([-1.8, -2.0], 0.09),  # 0.3 below it
        ([-1.8, -2.7], 0.13),  # and the other text 0.2 below it
    ]
    for now, expected in cases:
        likelihood = torch.tensor([now], requires_grad=True)
        found = shortfall_penalty(likelihood, plain, margin=0.5)
        assert float(found.detach()) == pytest.approx(expected, abs=rounding(8, 2.7))
        found.sum().backward()
        assert bool((likelihood.grad == 0).all()) == (expected == 0.0)


def gradients(loss):
    likelihood = torch.tensor([[-1.0, -2.0], [-3.0, -0.5]], requires_grad=True)
    state = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[1.0, 0.0], [2.0, 2.0]]], requires_grad=True)
    loss(likelihood, state).sum().backward()
    return likelihood.grad, state.grad


def test_at_the_plain_model_a_bound_has_no_gradient_unless_its_margin_is_negative():
    _, free = gradients(Separation())
    for margin in (0.0, 0.3):
        by_likelihood, by_state = gradients(BoundedSeparation(weight=5.0, margin=margin))
        assert not bool(by_likelihood.any())
        assert torch.equal(by_state, free)
    by_likelihood, by_state = gradients(BoundedSeparation(weight=5.0, margin=-0.3))
    torch.testing.assert_close(by_likelihood, torch.full((2, 2), -2 * 5.0 * 0.3))
    assert torch.equal(by_state, free)


def test_the_published_margin_was_none():
    # 0.99 lp lies above lp < 0: the penalty is (0.01 lp)^2 from the start, with a slope.
    likelihood = torch.tensor([[-4.0, -4.0]], requires_grad=True)
    theirs = shortfall_penalty(likelihood, 0.99 * likelihood.detach(), margin=0.0)
    assert float(theirs.detach()) == pytest.approx(2 * 0.04**2, rel=1e-4)
    theirs.sum().backward()
    assert float(likelihood.grad[0, 0]) == pytest.approx(-2 * 0.04, rel=1e-4)


def test_losses_are_found_by_name():
    assert find_loss("margin") == Margin()
    assert find_loss(Margin(beta=1.0)) == Margin(beta=1.0)
    assert all(isinstance(loss, PreferenceLoss) for loss in LOSSES.values())
    with pytest.raises(UnknownNameError, match="Known: cosine, hinge"):
        find_loss("simpo")


def test_further_losses_by_hand():
    likelihood = torch.tensor([[-1.0, -1.5], [-1.0, -3.0]])
    state = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [2.0, 0.0]]])
    expected = {
        "hinge": [0.5, 0.0],  # 1 - 0.5, and 1 - 2 < 0
        "reference": [math.log(2), math.log(2)],
        "tanh": [-math.tanh(0.5), -math.tanh(2.0)],
        "cosine": [0.0, 1.0],
        "log_magnitude": [-math.log(5.0), 0.0],
    }
    for name, values in expected.items():
        torch.testing.assert_close(LOSSES[name](likelihood, state), torch.tensor(values))


def test_links_weigh_the_pairs_of_a_gradient():
    weights = {}
    for name in ("hinge", "reference", "tanh"):
        likelihood = torch.tensor([[-1.0, -1.5], [-1.0, -3.0]], requires_grad=True)
        LOSSES[name](likelihood, torch.zeros(2, 2, 3)).sum().backward()
        weights[name] = (-likelihood.grad[:, 0]).tolist()
    assert weights["hinge"] == [1.0, 0.0]
    assert weights["reference"] == pytest.approx([0.5, 0.5])
    assert weights["tanh"] == pytest.approx([1 - math.tanh(0.5) ** 2, 1 - math.tanh(2.0) ** 2])


def test_the_log_distance_pulls_hardest_where_texts_lie_close():
    state = torch.tensor([[[5.0, 0.0], [0.0, 0.0]], [[0.5, 0.0], [0.0, 0.0]]], requires_grad=True)
    LOSSES["log_magnitude"](torch.zeros(2, 2), state).sum().backward()
    assert state.grad[:, 0, 0].tolist() == pytest.approx([-0.2, -2.0])


@pytest.mark.parametrize("loss", [Hinge, Reference, BoundedMargin])
def test_a_link_without_a_number_is_refused(loss):
    with pytest.raises(BadValueError, match="above 0"):
        loss(math.nan)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf])
def test_a_margin_loss_that_points_nowhere_is_refused(beta):
    with pytest.raises(BadValueError, match="beta must be above 0"):
        Margin(beta=beta)


def test_a_bound_without_weight_or_margin_is_refused():
    with pytest.raises(BadValueError, match="weight must be above 0"):
        BoundedSeparation(weight=0.0, margin=0.1)
    with pytest.raises(BadValueError, match="both finite"):
        BoundedSeparation(weight=1.0, margin=math.nan)
    with pytest.raises(BadValueError, match="both finite"):
        Margin(gamma=math.inf)
