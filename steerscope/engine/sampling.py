"""Samplers: how the next token is chosen among those that are likely."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import BadValueError


@runtime_checkable
class Sampler(Protocol):
    """Chooses the next token of each row."""

    def choose(
        self, logits: Float[Tensor, "row vocab"], keys: Sequence[str]
    ) -> Int[Tensor, " row"]:
        """Next tokens; `keys` name prompt and step, so that no choice depends on its batch."""
        ...


@dataclass(frozen=True)
class Greedy:
    """The most likely token."""

    def choose(
        self,
        logits: Float[Tensor, "row vocab"],
        keys: Sequence[str],  # noqa: ARG002 - greedy choice needs no randomness
    ) -> Int[Tensor, " row"]:
        """Next tokens."""
        return logits.argmax(dim=-1)


@dataclass(frozen=True)
class Sample:
    """A token drawn from the softmax at a temperature.

    One uniform number per prompt and step, made from the seed, the tokens of the prompt and the step,
    is put through the inverse of the cumulative distribution. So a row gets the same tokens in any
    batch and in any order, and all conditions of a prompt share their random numbers: what differs
    between their texts is what they did, and a condition that does nothing writes the plain text.
    """

    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise BadValueError(
                f"temperature {self.temperature} must be positive and finite; use Greedy() for the "
                "limit 0."
            )

    def choose(
        self, logits: Float[Tensor, "row vocab"], keys: Sequence[str]
    ) -> Int[Tensor, " row"]:
        """Next tokens."""
        cumulative = torch.softmax(logits.double() / self.temperature, dim=-1).cumsum(dim=-1)
        uniform = torch.tensor(
            [[_uniform(f"{self.seed}|{key}")] for key in keys],
            dtype=torch.float64,
            device=logits.device,
        )
        threshold = uniform * cumulative[:, -1:]
        return (
            torch.searchsorted(cumulative, threshold, right=True)
            .squeeze(-1)
            .clamp_max(logits.shape[-1] - 1)
        )


def sampler_at(temperature: float, seed: int) -> Sampler:
    """Sampling at a temperature, or the most likely token at 0."""
    return Greedy() if temperature == 0 else Sample(temperature, seed)


def _uniform(key: str) -> float:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
