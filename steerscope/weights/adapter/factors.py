"""Singular factors of a weight: a few of its columns, and exactly what is left without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import BadValueError, check_name

Columns = Literal["singular", "data"]
COLUMNS: tuple[Columns, ...] = get_args(Columns)


@dataclass(frozen=True, eq=False)
class Factors:
    """Chosen singular triples of a weight W of y = x W, so that W ≈ V diag(S) Uᵀ; in float32.

    Attributes:
        inputs: V, orthonormal columns in the space that the weight reads.
        values: S, descending in the order in which they were chosen.
        outputs: U, orthonormal columns in the space that it writes.
    """

    inputs: Float[Tensor, "d rank"]
    values: Float[Tensor, " rank"]
    outputs: Float[Tensor, "out rank"]

    @property
    def rank(self) -> int:
        """Number of triples."""
        return len(self.values)

    def part(self) -> Float[Tensor, "d out"]:
        """V diag(S) Uᵀ in float64."""
        return (self.inputs.double() * self.values.double()) @ self.outputs.double().T

    def residual(self, weight: Float[Tensor, "d out"]) -> Float[Tensor, "d out"]:
        """W - V diag(S) Uᵀ in float64, so that both together are the weight to the last bit."""
        return weight.double() - self.part()


def check_rank(weight: Float[Tensor, "d out"], rank: int, where: str) -> None:
    """Refuse a rank that the weight does not have.

    Raises:
        BadValueError: not between 1 and the smaller side.
    """
    if not 1 <= rank <= min(weight.shape):
        raise BadValueError(
            f"rank {rank} for {where}, a matrix of {weight.shape[0]} x {weight.shape[1]}: it must "
            f"lie between 1 and {min(weight.shape)}."
        )


def factorise(
    weight: Float[Tensor, "d out"],
    rank: int,
    *,
    where: str,
    differences: Float[Tensor, "pair out"] | None = None,
) -> Factors:
    """The strongest singular triples, or those that tell the classes of the data apart.

    With `differences` the score of triple i is the root mean square over pairs of (δ·uᵢ) / sᵢ, δ
    being the difference of what the weight gives for the two texts of a pair: how differently the
    two texts use that triple, whatever its gain.

    Args:
        weight: W of y = x W.
        rank: triples kept.
        where: the weight's name, for messages.
        differences: of the outputs of the weight, positive minus negative.

    Raises:
        BadValueError: the rank is not between 1 and the smaller side.

    Source: InnerPiSSA; its data-aware choice takes half of the columns from either class by
    variance, ours takes them by paired differences.
    """
    check_rank(weight, rank, where)
    inputs, values, outputs = torch.linalg.svd(weight.double(), full_matrices=False)
    chosen = torch.arange(rank)
    if differences is not None:
        chosen = telling_columns(outputs.T, values, differences.double())[:rank]
    return Factors(
        inputs[:, chosen].float().contiguous(),
        values[chosen].float(),
        outputs.T[:, chosen].float().contiguous(),
    )


def telling_columns(
    outputs: Float[Tensor, "out column"],
    values: Float[Tensor, " column"],
    differences: Float[Tensor, "pair out"],
) -> Int[Tensor, " column"]:
    """All triples, those that the two texts of a pair use most differently first."""
    smallest = values[0] * torch.finfo(torch.float32).eps
    used = (differences @ outputs) / values.clamp_min(smallest)
    score = used.square().mean(dim=0) * (values > smallest)
    return score.argsort(descending=True, stable=True)


def check_columns(name: str) -> Columns:
    """The way to choose columns of that name.

    Raises:
        UnknownNameError: there is none.
    """
    return check_name("choice of columns", name, COLUMNS)
