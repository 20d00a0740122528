"""Strengths by the number of the generated token."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import BadValueError
from steerscope.steering.strengths.strength import Moment, Strength


class Schedule(Strength):
    """A share by the number t of the generated token; the prompt has full strength."""

    @abstractmethod
    def at(self, step: Int[Tensor, "#row pos"]) -> Float[Tensor, "#row pos"]:
        """Shares of the generated tokens with these numbers, the first being 1."""

    def share(self, moment: Moment) -> Float[Tensor, "#row pos"]:
        """The shares."""
        generated = moment.step >= 1
        return torch.where(generated, self.at(moment.step.clamp_min(1)), 1.0)


@dataclass(frozen=True)
class Ramp(Schedule):
    """Min(t / steps, 1): full strength from generated token number `steps` on."""

    name: ClassVar[str] = "ramp"
    steps: int

    def __post_init__(self) -> None:
        _at_least_one(self, self.steps)

    def at(self, step: Int[Tensor, "#row pos"]) -> Float[Tensor, "#row pos"]:
        """Shares of the generated tokens with these numbers, the first being 1."""
        return (step / self.steps).clamp_max(1.0)


@dataclass(frozen=True)
class Decay(Schedule):
    """2 ** -((t - 1) / half_life): full strength at the first token, half of it later by that many."""

    name: ClassVar[str] = "decay"
    half_life: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.half_life) and self.half_life > 0):
            raise BadValueError(
                f"strength {self}: the half-life must be a positive number of tokens."
            )

    def at(self, step: Int[Tensor, "#row pos"]) -> Float[Tensor, "#row pos"]:
        """Shares of the generated tokens with these numbers, the first being 1."""
        return torch.exp2(-(step - 1) / self.half_life)


@dataclass(frozen=True)
class Pulse(Schedule):
    """1 for the first `on` tokens of every `period`, else 0."""

    name: ClassVar[str] = "pulse"
    period: int
    on: int

    def __post_init__(self) -> None:
        if not 1 <= self.on <= self.period:
            raise BadValueError(f"strength {self}: give 1 <= on <= period.")

    def at(self, step: Int[Tensor, "#row pos"]) -> Float[Tensor, "#row pos"]:
        """Shares of the generated tokens with these numbers, the first being 1."""
        return ((step - 1) % self.period < self.on).float()


@dataclass(frozen=True)
class First(Schedule):
    """1 for the first `steps` generated tokens, then 0."""

    name: ClassVar[str] = "first"
    steps: int

    def __post_init__(self) -> None:
        _at_least_one(self, self.steps)

    def at(self, step: Int[Tensor, "#row pos"]) -> Float[Tensor, "#row pos"]:
        """Shares of the generated tokens with these numbers, the first being 1."""
        return (step <= self.steps).float()


def _at_least_one(strength: Strength, steps: int) -> None:
    if steps < 1:
        raise BadValueError(f"strength {strength}: give at least 1 token.")
