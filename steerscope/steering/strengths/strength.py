"""What a strength is and may look at; constants and products."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.directions import Direction
from steerscope.errors import BadValueError
from steerscope.models.lens_model import ModelShape
from steerscope.sites import Site
from steerscope.texts.numbers import read_real, read_whole


def no_keys(layer: int) -> Tensor:
    """No keys: for strengths that read none."""
    raise BadValueError(f"the keys of layer {layer} were not kept; name it in `key_layers`.")


@dataclass(frozen=True, eq=False)
class Moment:
    """What a strength may look at.

    Attributes:
        site: the steered site.
        unit: the steered direction.
        step: number of the generated token, the first being 1; less than 1 within the prompt.
        seen: activations, [row pos d], at the steered site before this steering and at the sites
            that the strength reads.
        keys: the keys of a layer, [row head token d], up to the last token of this pass.
    """

    site: Site
    unit: Float[Tensor, " d"]
    step: Int[Tensor, "#row pos"]
    seen: Mapping[Site, Tensor]
    keys: Callable[[int], Tensor] = no_keys


class Strength(ABC):
    """The share of a change that is made, 0 to 1, for every row and position.

    `a * b` is the product of two. `parse_strength` reads back the `str` of one that has no vector.
    """

    name: ClassVar[str]

    @abstractmethod
    def share(self, moment: Moment) -> Float[Tensor, "#row #pos"]:
        """The shares; one row or position stands for all where they agree."""

    @property
    def conditions(self) -> tuple[Direction, ...]:
        """Directions whose sites this strength reads."""
        return ()

    @property
    def key_layers(self) -> tuple[int, ...]:
        """Layers of whose keys this strength reads all so far."""
        return ()

    def check(self, site: Site) -> None:  # noqa: B027 - most strengths suit every site
        """Refuse to steer a site that this strength does not suit."""

    def check_model(self, site: Site, shape: ModelShape) -> None:  # noqa: B027 - most suit every model
        """Refuse a model that this strength, at a site of it, does not suit."""

    def __mul__(self, other: Strength | float) -> Strength:
        return Product((*_factors(self), *_factors(as_strength(other))))

    __rmul__ = __mul__

    def __str__(self) -> str:
        numbers = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        return ":".join([self.name, *(f"{n:g}" for n in numbers)])

    @classmethod
    def read(cls, numbers: list[str]) -> Strength:
        """The strength of this name with the numbers that follow it in a text.

        Raises:
            BadValueError: they are not what this strength is written with.
        """
        kinds = {"int": read_whole, "float": read_real}
        wanted = [(f.name, kinds[str(f.type)]) for f in fields(cls)]  # type: ignore[arg-type]
        form = ":".join([cls.name, *(name.upper() for name, _ in wanted)])
        if len(numbers) != len(wanted):
            raise BadValueError(f"cannot read strength {':'.join([cls.name, *numbers])!r}: {form}.")
        try:
            return cls(*(kind(n) for n, (_, kind) in zip(numbers, wanted, strict=True)))
        except ValueError as error:
            raise BadValueError(
                f"cannot read strength {':'.join([cls.name, *numbers])!r}: {form}, {error}."
            ) from error


@dataclass(frozen=True)
class Constant(Strength):
    """The same share everywhere."""

    name: ClassVar[str] = "constant"
    value: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:
            raise BadValueError(f"strength {self.value} is outside 0..1.")

    def __str__(self) -> str:
        return repr(self.value)

    def share(self, moment: Moment) -> Float[Tensor, "1 1"]:
        """The shares."""
        return torch.full((1, 1), self.value, device=moment.step.device)


@dataclass(frozen=True)
class Product(Strength):
    """The product of several strengths: a gate and a schedule, or gates that all must be open."""

    name: ClassVar[str] = "product"
    factors: tuple[Strength, ...]

    def __str__(self) -> str:
        return "*".join(map(str, self.factors))

    @property
    def conditions(self) -> tuple[Direction, ...]:
        """Directions whose sites this strength reads."""
        return tuple(c for f in self.factors for c in f.conditions)

    @property
    def key_layers(self) -> tuple[int, ...]:
        """Layers of whose keys this strength reads all so far."""
        return tuple(layer for f in self.factors for layer in f.key_layers)

    def check(self, site: Site) -> None:
        """Refuse to steer a site that a factor does not suit."""
        for factor in self.factors:
            factor.check(site)

    def check_model(self, site: Site, shape: ModelShape) -> None:
        """Refuse a model that a factor does not suit."""
        for factor in self.factors:
            factor.check_model(site, shape)

    def share(self, moment: Moment) -> Float[Tensor, "#row #pos"]:
        """The shares."""
        one = torch.ones(1, 1, device=moment.step.device)
        # one that reads elsewhere may be on the device of another block
        return math.prod((f.share(moment).to(one.device) for f in self.factors), start=one)


def as_strength(value: Strength | float) -> Strength:
    """The strength itself, or the constant of a number."""
    return value if isinstance(value, Strength) else Constant(float(value))


def _factors(strength: Strength) -> tuple[Strength, ...]:
    return strength.factors if isinstance(strength, Product) else (strength,)
