"""How much: a signed dose with its unit, and the lengths that convert between units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from steerscope.errors import BadValueError, NotFiniteError, check_name

Length = Literal["absolute", "relative", "natural"]
Unit = Literal["absolute", "relative", "natural", "kl", "degrees"]
LENGTHS: tuple[Length, ...] = get_args(Length)
UNITS: tuple[Unit, ...] = get_args(Unit)


def check_unit(name: str) -> Unit:
    """The dose unit of that name.

    Raises:
        UnknownNameError: there is none; the message lists the known units.
    """
    return check_name("dose unit", name, UNITS)


@dataclass(frozen=True)
class Scale:
    """Absolute lengths, in activation space, of one unit of dose at a site.

    Attributes:
        natural: the class separation, ||mean(positive) - mean(negative)|| without the part of noise.
        relative: median L2 norm of the activations over content tokens, position 0 excluded.
    """

    natural: float
    relative: float

    def __post_init__(self) -> None:
        for name in ("natural", "relative"):
            length = getattr(self, name)
            if not (math.isfinite(length) and length > 0):
                raise NotFiniteError(
                    f"the {name} length is {length}; it must be a positive number."
                )

    def length(self, unit: Length) -> float:
        """Absolute length of one `unit`."""
        return 1.0 if unit == "absolute" else getattr(self, unit)


@dataclass(frozen=True)
class Dose:
    """A signed amount of steering with its unit.

    `absolute`, `relative` and `natural` are lengths, and convert into each other. `kl` is nats of
    KL(steered || plain); which length that is depends on the model and is found by
    `calibration.calibrate`. `degrees` is an angle, for operators that turn activations.

    Attributes:
        value: the coefficient, signed.
        unit: `natural`, `relative`, `absolute`, `kl` or `degrees`.

    Raises:
        UnknownNameError: the unit does not exist.
        NotFiniteError: the value is not finite.
        BadValueError: an angle beyond 180 degrees.
    """

    value: float
    unit: Unit = "natural"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if not math.isfinite(self.value):
            raise NotFiniteError(f"a dose of {self.value} is not a number; give a finite value.")
        if self.unit == "degrees" and abs(self.value) > 180:
            raise BadValueError(f"an angle of {self.value:g} degrees is outside -180..180.")

    def __str__(self) -> str:
        return f"{self.value:+g} {self.unit}"

    def absolute(self, scale: Scale) -> float:
        """The same dose as a signed length in activation space.

        Raises:
            BadValueError: the unit is no length.
        """
        if self.unit == "kl":
            raise BadValueError(
                f"a dose of {self.value:g} kl has no length until it is calibrated; use the dose that "
                "calibrate(model, direction, nats, prompts) finds."
            )
        if self.unit == "degrees":
            raise BadValueError(f"a dose of {self.value:g} degrees is an angle, not a length.")
        return self.value * scale.length(self.unit)

    def to(self, unit: Length, scale: Scale) -> Dose:
        """The same dose in another unit of length.

        Raises:
            BadValueError: the unit of this dose is no length.
        """
        return Dose(self.absolute(scale) / scale.length(unit), unit)
