"""Further preference losses: with a hinge, a reference, a bound, of the angle, of the log distance.

A link changes how much each pair weighs in a gradient at the plain model, and nothing else: hinge drops
the pairs that are apart enough, reference weighs all alike, tanh leaves out those far apart either way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BadValueError

_FLAT = 1e-8  # activation units; below it two texts are one point and have no direction apart


@dataclass(frozen=True)
class Hinge:
    """loss = max(0, γ - (lp₊ - lp₋)): only pairs that are not yet apart by the margin count.

    Attributes:
        gamma: the margin, in nats per token; pairs beyond it have no gradient.

    Source: the "hinge" of ReprPO variants, on likelihoods.
    """

    gamma: float = 1.0
    moves: Literal["together"] = field(default="together", init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self.gamma, "hinge loss", "gamma")

    def __call__(
        self,
        likelihood: Float[Tensor, "pair 2"],
        state: Float[Tensor, "pair 2 d"],  # noqa: ARG002
    ) -> Float[Tensor, " pair"]:
        """The loss of each pair."""
        return F.relu(self.gamma - (likelihood[:, 0] - likelihood[:, 1]))


@dataclass(frozen=True)
class Reference:
    """loss = -log σ(β ((lp₊ - lp₋) - (lp₊ - lp₋)₀)), with the reference ₀ the model as it is now.

    At the plain model every pair weighs β/2, however far apart it is already.

    Attributes:
        beta: steepness, per nat per token.

    Source: Rafailov et al. 2023 (arXiv:2305.18290), per token.
    """

    beta: float = 1.0
    moves: Literal["together"] = field(default="together", init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self.beta, "reference loss", "beta")

    def __call__(
        self,
        likelihood: Float[Tensor, "pair 2"],
        state: Float[Tensor, "pair 2 d"],  # noqa: ARG002
    ) -> Float[Tensor, " pair"]:
        """The loss of each pair."""
        apart = likelihood[:, 0] - likelihood[:, 1]
        return -F.logsigmoid(self.beta * (apart - apart.detach()))


@dataclass(frozen=True)
class BoundedMargin:
    """loss = -tanh(β (lp₊ - lp₋)): pairs that are far apart, either way round, hardly count.

    Attributes:
        beta: steepness, per nat per token.
    """

    beta: float = 1.0
    moves: Literal["together"] = field(default="together", init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self.beta, "tanh loss", "beta")

    def __call__(
        self,
        likelihood: Float[Tensor, "pair 2"],
        state: Float[Tensor, "pair 2 d"],  # noqa: ARG002
    ) -> Float[Tensor, " pair"]:
        """The loss of each pair."""
        return -torch.tanh(self.beta * (likelihood[:, 0] - likelihood[:, 1]))


@dataclass(frozen=True)
class Angle:
    """loss = cos(h₊, h₋): the two activations are to point apart, whatever their lengths."""

    moves: Literal["apart"] = field(default="apart", init=False, repr=False)

    def __call__(
        self,
        likelihood: Float[Tensor, "pair 2"],  # noqa: ARG002
        state: Float[Tensor, "pair 2 d"],
    ) -> Float[Tensor, " pair"]:
        """The loss of each pair."""
        return F.cosine_similarity(state[:, 0], state[:, 1], dim=-1)


@dataclass(frozen=True)
class LogDistance:
    """loss = -log ||h₊ - h₋||: separation in which pairs that lie close weigh more.

    Its gradient at h₊ has the length 1 / ||h₊ - h₋||.
    """

    moves: Literal["apart"] = field(default="apart", init=False, repr=False)

    def __call__(
        self,
        likelihood: Float[Tensor, "pair 2"],  # noqa: ARG002
        state: Float[Tensor, "pair 2 d"],
    ) -> Float[Tensor, " pair"]:
        """The loss of each pair."""
        squared = (state[:, 0] - state[:, 1]).square().sum(dim=-1)
        return -(squared + _FLAT**2).log() / 2


def _check(value: float, loss: str, name: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise BadValueError(f"{loss} with {name} {value}: {name} must be a number above 0.")
