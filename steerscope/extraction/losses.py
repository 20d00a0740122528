"""Preference losses: what a direction found from gradients is to lower. Pure functions of tensors.

A loss judges pairs of texts by two things that a model makes of each text: its likelihood and its
activation at the last block. Column 0 is the positive text, column 1 the negative one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.extraction.pair_losses import (
    Angle,
    BoundedMargin,
    Hinge,
    LogDistance,
    Reference,
)

Moves = Literal["together", "apart"]


def mean_log_likelihood(
    logits: Float[Tensor, "batch pos vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, " batch"]:
    """Mean natural log-probability of the tokens of each text but the first, in nats per token.

    lp = 1/(T-1) Σ_{t=1..T-1} log p(x_t | x_<t), from log-softmax in float32. The logits at the last
    position predict nothing inside the text and do not enter.

    Raises:
        BadValueError: a text of one token.
    """
    if tokens.shape[1] < 2:
        raise BadValueError("a text of one token has no likelihood; use a longer text.")
    log_p = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    return log_p.gather(-1, tokens[:, 1:, None]).squeeze(-1).mean(dim=1)


def margin_loss(
    likelihood: Float[Tensor, "pair 2"], *, beta: float, gamma: float
) -> Float[Tensor, " pair"]:
    """How far the positive text is from being likelier than the negative by a margin, in nats.

    loss = -log σ(β (lp₊ - lp₋ - γ))

    Args:
        likelihood: mean log-probabilities per token, in nats.
        beta: steepness, per nat; towards 0 all pairs weigh the same.
        gamma: the margin that is asked for, in nats per token.

    Source: Meng et al. 2024 (arXiv:2405.14734), with γ inside the factor β.
    """
    return -F.logsigmoid(beta * (likelihood[:, 0] - likelihood[:, 1] - gamma))


def separation_loss(state: Float[Tensor, "pair 2 d"]) -> Float[Tensor, " pair"]:
    """Minus the distance of the two texts' activations, in activation units.

    loss = -||h₊ - h₋||, whose gradient has norm 1 at h₊, and the opposite one at h₋.
    """
    return -torch.linalg.vector_norm(state[:, 0] - state[:, 1], dim=-1)


def shortfall_penalty(
    likelihood: Float[Tensor, "pair 2"], plain: Float[Tensor, "pair 2"], *, margin: float
) -> Float[Tensor, " pair"]:
    """Squared amount by which the texts have become less likely than they may, in nats² per token².

    penalty = Σ_{both texts} max(0, lp₀ - m - lp)²: exactly zero, and without slope, while
    lp >= lp₀ - m.

    Args:
        likelihood: mean log-probabilities per token now, in nats.
        plain: the same of the plain model, lp₀.
        margin: the loss m that is free of charge, in nats per token.

    Source: idea of the "nll margin" of ReprPO variants. Theirs compares with 0.99 lp₀, which lies
    above lp₀ since lp₀ < 0, so that it charges from the start; ours is a margin. Both texts are
    held, not the positive alone.
    """
    return (plain - margin - likelihood).clamp_min(0.0).square().sum(dim=1)


@runtime_checkable
class PreferenceLoss(Protocol):
    """A loss of each pair, and how a pair must be moved to lower it."""

    @property
    def moves(self) -> Moves:
        """Whether one displacement moves both texts, or positives by +v and negatives by -v."""
        ...

    def __call__(
        self, likelihood: Float[Tensor, "pair 2"], state: Float[Tensor, "pair 2 d"]
    ) -> Float[Tensor, " pair"]:
        """The loss of each pair."""
        ...


@dataclass(frozen=True)
class Margin:
    """The positive text is to be likelier than the negative: `margin_loss`.

    One vector added while either text is read changes their likelihoods; both texts move together.
    """

    beta: float = 2.0
    gamma: float = 0.25
    moves: Moves = field(default="together", init=False, repr=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta > 0 and math.isfinite(self.gamma)):
            raise BadValueError(
                f"margin loss with beta {self.beta}, gamma {self.gamma}: beta must be above 0, and "
                "both finite."
            )

    def __call__(
        self,
        likelihood: Float[Tensor, "pair 2"],
        state: Float[Tensor, "pair 2 d"],  # noqa: ARG002
    ) -> Float[Tensor, " pair"]:
        """The loss of each pair."""
        return margin_loss(likelihood, beta=self.beta, gamma=self.gamma)


@dataclass(frozen=True)
class Separation:
    """The two texts' activations are to lie far apart: `separation_loss`.

    One vector added to both moves them by the same and separates nothing, so positives move by +v
    and negatives by -v.
    """

    moves: Moves = field(default="apart", init=False, repr=False)

    def __call__(
        self,
        likelihood: Float[Tensor, "pair 2"],  # noqa: ARG002
        state: Float[Tensor, "pair 2 d"],
    ) -> Float[Tensor, " pair"]:
        """The loss of each pair."""
        return separation_loss(state)


@dataclass(frozen=True)
class BoundedSeparation:
    """Separation that must not make the texts less likely: separation + weight · shortfall.

    The bound is that of the plain model, lp₀ = lp at the point where the gradient is taken. There
    the shortfall is max(0, -margin), so with margin >= 0 the bound has no gradient at all, and one
    gradient step knows nothing of it: the loss is then `Separation`. It speaks up only in a descent
    of several steps, or with margin < 0, which asks both texts to become likelier by -margin and is
    a likelihood gradient of weight -2 · weight · margin rather than a bound.

    Attributes:
        weight: activation units per nat² per token².
        margin: nats per token.
    """

    weight: float
    margin: float
    moves: Moves = field(default="apart", init=False, repr=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0 and math.isfinite(self.margin)):
            raise BadValueError(
                f"bounded separation with weight {self.weight}, margin {self.margin}: weight must "
                "be above 0, and both finite."
            )

    def __call__(
        self, likelihood: Float[Tensor, "pair 2"], state: Float[Tensor, "pair 2 d"]
    ) -> Float[Tensor, " pair"]:
        """The loss of each pair, held to its own likelihood as it is now."""
        shortfall = shortfall_penalty(likelihood, likelihood.detach(), margin=self.margin)
        return separation_loss(state) + self.weight * shortfall


# BoundedSeparation has no sensible numbers of its own and is given as an object.
LOSSES: dict[str, PreferenceLoss] = {
    "margin": Margin(),
    "hinge": Hinge(),
    "reference": Reference(),
    "tanh": BoundedMargin(),
    "separation": Separation(),
    "cosine": Angle(),
    "log_magnitude": LogDistance(),
}


def find_loss(loss: PreferenceLoss | str) -> PreferenceLoss:
    """The loss of that name, with its default numbers; a loss is returned as it is.

    Raises:
        UnknownNameError: no such loss; the message lists the known ones.
    """
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise UnknownNameError("loss", loss, LOSSES)
    return LOSSES[loss]
