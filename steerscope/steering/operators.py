"""What is done to an activation: pure maps from an activation to the steered activation.

The update law x <- x + s (op(x) - x) goes the share s of the straight way to op(x). So a rotation
keeps the norm of an activation at s = 1 and s = 0; between them it cuts the corner of the arc.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.doses import LENGTHS, Dose, Scale, Unit
from steerscope.errors import BadValueError, UnknownNameError

Apply = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Operator:
    """A named map (activation, unit, amount) -> activation.

    Attributes:
        takes: what the amount is: a `length` in activation space, an `angle` in degrees, or nothing.
        sets: whether it sets a property of the activation, so that twice is once; otherwise it moves
            the activation by the amount, so that zero is plain.
    """

    name: str
    apply: Apply
    takes: Literal["length", "angle", "nothing"]
    sets: bool

    @property
    def needs_dose(self) -> bool:
        """Whether a dose belongs to it."""
        return self.takes != "nothing"

    def check(self, dose: Dose | None) -> None:
        """Refuse a dose that does not belong to this operator.

        Raises:
            BadValueError: a dose where none belongs, none where one does, or one of another kind.
        """
        if self.needs_dose and dose is None:
            raise BadValueError(f"operator {self.name!r} needs a dose; give one.")
        if dose is None:
            return
        if not self.needs_dose:
            raise BadValueError(
                f"operator {self.name!r} takes no dose; use strength to do less of it."
            )
        units: tuple[Unit, ...] = LENGTHS if self.takes == "length" else ("degrees",)
        if dose.unit not in units:
            hint = (
                "; calibrate(model, direction, nats, prompts) finds one"
                if dose.unit == "kl"
                else ""
            )
            raise BadValueError(
                f"operator {self.name!r} takes a dose in {', '.join(units)}, not in {dose.unit}{hint}."
            )
        if self.takes == "angle" and self.sets and dose.value < 0:
            raise BadValueError(
                f"operator {self.name!r} takes an angle of 0..180 degrees, not {dose.value:g}."
            )

    def amount(self, dose: Dose | None, scale: Scale) -> float:
        """The number that `apply` wants: an absolute length, degrees, or 0 for nothing."""
        if dose is None:
            return 0.0
        return dose.value if self.takes == "angle" else dose.absolute(scale)


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


def clamp(
    x: Float[Tensor, "*batch d"], unit: Float[Tensor, " d"], length: float
) -> Float[Tensor, "*batch d"]:
    """X + (length - x·unit) unit: the component along the direction is the length, whatever it was.

    A length of 0 is `project_out`, not plain.

    Source: the feature clamping of Templeton et al. 2024, "Scaling Monosemanticity", on a direction
    of the activations instead of a feature of a sparse autoencoder.
    """
    return x + (length - x @ unit).unsqueeze(-1) * unit


def rotate(
    x: Float[Tensor, "*batch d"], unit: Float[Tensor, " d"], degrees: float
) -> Float[Tensor, "*batch d"]:
    """Cos(θ) x + sin(θ) ‖x‖ t, t the unit tangent at x towards unit: turned by an angle.

    The norm stays. A positive angle turns towards the unit and ends there at the latest, a negative
    one away from it, towards its opposite. An activation along the unit or its opposite defines no
    plane to turn in and stays as it is.

    Source: Vu & Nguyen 2025 (arXiv:2510.26243), Angular Steering, which turns by or to an angle
    within one plane fixed for all activations, spanned by the direction and a principal component.
    Here every activation turns in the plane that it spans with the direction, so the components
    orthogonal to both stay as they were and no second direction has to be chosen.
    """
    wide, toward, along, across = _split(x, unit)
    from_unit = torch.atan2(across, along)
    turn = torch.full_like(from_unit, math.radians(degrees))
    turn = turn.clamp(min=from_unit - math.pi, max=from_unit)[..., None]
    tangent = across[..., None] * toward - along[..., None] * _perpendicular(wide, toward)
    turned = torch.cos(turn) * wide + torch.sin(turn) * tangent
    return _where_a_plane_is(turned, x, across)


def rotate_to(
    x: Float[Tensor, "*batch d"], unit: Float[Tensor, " d"], degrees: float
) -> Float[Tensor, "*batch d"]:
    """‖x‖ (cos(θ) unit + sin(θ) e), e the unit part of x orthogonal to unit: turned to an angle.

    The norm stays; 0 degrees points along the unit, 90 is orthogonal to it, 180 opposite. An
    activation along the unit or its opposite stays as it is.

    Source: as `rotate`, with the same deviation.
    """
    wide, toward, _, across = _split(x, unit)
    angle = math.radians(degrees)
    pointed = math.cos(angle) * toward + math.sin(angle) * _perpendicular(wide, toward)
    turned = wide.norm(dim=-1, keepdim=True) * pointed
    return _where_a_plane_is(turned, x, across)


def _split(x: Tensor, unit: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Activation and unit in at least float32, and the lengths of x along and across the unit."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    wide, unit = x.to(dtype), unit.to(dtype)
    unit = unit / unit.norm()  # a narrow number format leaves it a little off
    along = wide @ unit
    return wide, unit, along, (wide - along[..., None] * unit).norm(dim=-1)


def _perpendicular(x: Tensor, unit: Tensor) -> Tensor:
    """Unit vector of the part of x orthogonal to `unit`; arbitrary where there is none."""
    rest = x - (x @ unit)[..., None] * unit
    return rest / rest.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def _where_a_plane_is(turned: Tensor, x: Tensor, across: Tensor) -> Tensor:
    """The turned activation, or the old one where what is left across the unit is rounding."""
    smallest = 2 * torch.finfo(x.dtype).eps * x.norm(dim=-1)
    return torch.where((across > smallest)[..., None], turned.to(x.dtype), x)


OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        Operator("add", add, takes="length", sets=False),
        Operator("project_out", project_out, takes="nothing", sets=True),
        Operator("clamp", clamp, takes="length", sets=True),
        Operator("rotate", rotate, takes="angle", sets=False),
        Operator("rotate_to", rotate_to, takes="angle", sets=True),
    )
}


def find_operator(name: str) -> Operator:
    """The operator of that name.

    Raises:
        UnknownNameError: there is none; the message lists the known operators.
    """
    if name not in OPERATORS:
        raise UnknownNameError("operator", name, OPERATORS)
    return OPERATORS[name]
