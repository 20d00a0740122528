"""What a kind of adapter is: numbers beside a weight, and the weight that they make at a coefficient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BadValueError
from steerscope.weights.changes import Change

Parts = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of a weight an adapter may change.

    Attributes:
        rank: of what is added, for kinds that add.
        block: components that are turned together, for kinds that turn.
    """

    rank: int = 8
    block: int = 4

    def __post_init__(self) -> None:
        for name in ("rank", "block"):
            if getattr(self, name) < 1:
                raise BadValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")


@runtime_checkable
class Kind(Protocol):
    """A kind of adapter of a weight W of y = x W.

    At c = 0, and at any c before training, W(c) = W exactly.
    """

    @property
    def reversal(self) -> str:
        """How W(-c) is to W(c), in words: what a coefficient means for this kind."""
        ...

    @property
    def learning_rate(self) -> float:
        """Of AdamW, where nobody says."""
        ...

    @property
    def sizes(self) -> tuple[str, ...]:
        """The fields of `Sizes` that it reads."""
        ...

    def fresh(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The numbers that are trained, as they are before.

        Raises:
            BadValueError: the sizes do not suit the weight.
        """
        ...

    def fixed(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Numbers that are drawn once and not trained."""
        ...

    def change(self, weight: Float[Tensor, "d out"], parts: Parts, c: float) -> Change:
        """W(c) - W of the numbers, trained and fixed."""
        ...


def nothing_fixed(
    weight: Float[Tensor, "d out"],  # noqa: ARG001 - as of every kind
    sizes: Sizes,  # noqa: ARG001
    generator: torch.Generator,  # noqa: ARG001
) -> dict[str, Tensor]:
    """For kinds of which everything is trained."""
    return {}


def spread(rows: int, columns: int, generator: torch.Generator) -> Float[Tensor, "row column"]:
    """Numbers drawn evenly from ±1/sqrt(rows), as peft starts the first factor of LoRA."""
    return (2 * torch.rand(rows, columns, generator=generator) - 1) / rows**0.5


def check_blocks(width: int, block: int, what: str) -> int:
    """How many blocks a side of a weight has.

    Raises:
        BadValueError: they do not fill it.
    """
    if width % block:
        raise BadValueError(
            f"blocks of {block} do not fill the {width} {what} of a weight; choose a divisor of it."
        )
    return width // block
