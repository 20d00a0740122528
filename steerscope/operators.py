"""What is done to an activation: pure maps from an activation to the steered activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from steerscope.errors import UnknownNameError

Apply = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Operator:
    """A named map (activation, unit, length) -> activation.

    Attributes:
        needs_dose: whether the length means anything.
    """

    name: str
    apply: Apply
    needs_dose: bool


def add(
    x: Float[Tensor, "*batch d"], unit: Float[Tensor, " d"], length: float
) -> Float[Tensor, "*batch d"]:
    """X + length * unit."""
    return x + length * unit


def project_out(
    x: Float[Tensor, "*batch d"],
    unit: Float[Tensor, " d"],
    length: float,  # noqa: ARG001 - every operator takes the same three
) -> Float[Tensor, "*batch d"]:
    """X - (x·unit) unit: the component along the direction is gone.

    Source: Arditi et al. 2024 (arXiv:2406.11717), directional ablation.
    """
    return x - (x @ unit).unsqueeze(-1) * unit


OPERATORS: dict[str, Operator] = {
    "add": Operator("add", add, needs_dose=True),
    "project_out": Operator("project_out", project_out, needs_dose=False),
}


def find_operator(name: str) -> Operator:
    """The operator of that name.

    Raises:
        UnknownNameError: there is none; the message lists the known operators.
    """
    if name not in OPERATORS:
        raise UnknownNameError("operator", name, OPERATORS)
    return OPERATORS[name]
