"""How much: a signed dose with its unit, and the lengths that convert between units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from steerscope.errors import NotFiniteError, UnknownNameError

Unit = Literal["absolute", "relative", "natural"]
UNITS: tuple[Unit, ...] = get_args(Unit)


def check_unit(name: str) -> Unit:
    """The dose unit of that name.

    Raises:
        UnknownNameError: there is none; the message lists the known units.
    """
    if name not in UNITS:
        raise UnknownNameError("dose unit", name, UNITS)
    return name


@dataclass(frozen=True)
class Scale:
    """Absolute lengths, in activation space, of one unit of dose at a site.

    Attributes:
        natural: ||mean(positive) - mean(negative)||, the class separation.
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

    def length(self, unit: Unit) -> float:
        """Absolute length of one `unit`."""
        return 1.0 if unit == "absolute" else getattr(self, unit)


@dataclass(frozen=True)
class Dose:
    """A signed amount of steering, in one of the units `absolute`, `relative`, `natural`.

    Raises:
        UnknownNameError: the unit does not exist.
        NotFiniteError: the value is NaN or infinite.
    """

    value: float
    unit: Unit = "natural"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if not math.isfinite(self.value):
            raise NotFiniteError(f"a dose of {self.value} is not a number; give a finite value.")

    def __str__(self) -> str:
        return f"{self.value:+g} {self.unit}"

    def absolute(self, scale: Scale) -> float:
        """The same dose as a signed length in activation space."""
        return self.value * scale.length(self.unit)

    def to(self, unit: Unit, scale: Scale) -> Dose:
        """The same dose in another unit."""
        return Dose(self.absolute(scale) / scale.length(unit), unit)
