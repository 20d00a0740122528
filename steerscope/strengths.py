"""How much of a change is made, where and when: constants, schedules, gates and their products.

A strength gives the share s of the law x <- x + s (op(x) - x) for every row and position. It keeps
no state: all that it may look at is in the `Moment`, so a row gets the same share in any batch.

Schedules count the generated tokens of a row, the first being step 1, and leave the prompt at full
strength; a scope takes the prompt out. Gates look at activations of the pass in progress, each row
and each token for itself. A gate on everything that a row has seen so far, such as the eigengap of
its keys, is one more `Strength`; it needs those keys in the `Moment`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.directions import Direction
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.sites import Site
from steerscope.spectra import HeadSpectra


@dataclass(frozen=True, eq=False)
class Moment:
    """What a strength may look at.

    Attributes:
        site: the steered site.
        unit: the steered direction.
        step: number of the generated token, the first being 1; less than 1 within the prompt.
        seen: activations, [row pos d], at the steered site before this steering and at the sites
            that the strength reads.
    """

    site: Site
    unit: Float[Tensor, " d"]
    step: Int[Tensor, "#row pos"]
    seen: Mapping[Site, Tensor]


class Strength(ABC):
    """The share of a change that is made, 0 to 1, for every row and position.

    `a * b` is the product of two. `str` and `parse` are inverse where the strength has no vector.
    """

    name: ClassVar[str]

    @abstractmethod
    def share(self, moment: Moment) -> Float[Tensor, "#row #pos"]:
        """The shares; one row or position stands for all where they agree."""

    @property
    def conditions(self) -> tuple[Direction, ...]:
        """Directions whose sites this strength reads."""
        return ()

    def check(self, site: Site) -> None:  # noqa: B027 - most strengths suit every site
        """Refuse to steer a site that this strength does not suit."""

    def __mul__(self, other: Strength | float) -> Strength:
        return Product((*_factors(self), *_factors(as_strength(other))))

    __rmul__ = __mul__

    def __str__(self) -> str:
        numbers = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        return ":".join([self.name, *(f"{n:g}" for n in numbers)])

    @classmethod
    def read(cls, numbers: list[str]) -> Strength:
        """The strength of this name with the numbers that follow it in a text."""
        kinds = {"int": int, "float": float}
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

    @staticmethod
    def parse(text: str) -> Strength:
        """The strength written as `0.5`, `ramp:8`, `cosine:0.3:below` or `0.5*pulse:4:2`.

        Raises:
            UnknownNameError: a word is neither a number nor a strength.
            BadValueError: numbers are missing, out of range or not numbers.
        """
        factors = [_read_one(part.strip()) for part in text.split("*")]
        return factors[0] if len(factors) == 1 else Product(tuple(factors))


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

    def check(self, site: Site) -> None:
        """Refuse to steer a site that a factor does not suit."""
        for factor in self.factors:
            factor.check(site)

    def share(self, moment: Moment) -> Float[Tensor, "#row #pos"]:
        """The shares."""
        return math.prod((f.share(moment) for f in self.factors), start=torch.ones(1, 1))


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


@dataclass(frozen=True)
class Gate(Strength):
    """1 where a measure of an activation is at least the threshold, else 0; `below`: 1 where less.

    Attributes:
        threshold: in units of the measure.
        below: whether the gate is open under the threshold.
        condition: the direction that is measured, at its own site, which must come before the
            steered one; None for the steered direction and site.
    """

    threshold: float
    below: bool = False
    condition: Direction | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise BadValueError(f"the threshold of gate {self.name!r} is {self.threshold}.")

    @staticmethod
    @abstractmethod
    def measure(
        x: Float[Tensor, "row pos d"], unit: Float[Tensor, " d"]
    ) -> Float[Tensor, "row pos"]:
        """What is compared with the threshold."""

    def __str__(self) -> str:
        words = f"{self.name}:{self.threshold!r}" + (":below" if self.below else "")
        return words if self.condition is None else f"{words}@{self.condition.label}"

    @property
    def conditions(self) -> tuple[Direction, ...]:
        """Directions whose sites this strength reads."""
        return () if self.condition is None else (self.condition,)

    def check(self, site: Site) -> None:
        """Refuse to steer a site that is computed before the condition's.

        Raises:
            BadValueError: the condition is not known yet when the steered site is reached.
        """
        if self.condition is not None and not self.condition.site.precedes(site):
            raise BadValueError(
                f"gate {self}: {self.condition.site} comes after the steered {site} in a pass; "
                "read the condition at the same site or an earlier one."
            )

    def share(self, moment: Moment) -> Float[Tensor, "row pos"]:
        """The shares."""
        site, unit = moment.site, moment.unit
        if self.condition is not None:
            site, unit = self.condition.site, self.condition.unit
        if site not in moment.seen:
            raise BadValueError(
                f"gate {self}: this pass did not run {site}; start it at block {site.layer} or before."
            )
        x = moment.seen[site].float()
        value = self.measure(x, unit.to(x.device, x.dtype))
        return ((value < self.threshold) if self.below else (value >= self.threshold)).float()

    @classmethod
    def read(cls, numbers: list[str]) -> Gate:
        """The gate with the threshold, and perhaps the word `below`, that follow its name."""
        text = ":".join([cls.name, *numbers])
        if "@" in text:
            raise BadValueError(
                f"cannot read strength {text!r}: a text holds no vector; build a gate with a condition "
                "in Python."
            )
        try:
            threshold = float(numbers[0])
        except (IndexError, ValueError):
            threshold = math.nan
        if math.isnan(threshold) or numbers[1:] not in ([], ["below"]):
            raise BadValueError(
                f"cannot read strength {text!r}; write {cls.name}:THRESHOLD or "
                f"{cls.name}:THRESHOLD:below."
            )
        return cls(threshold, bool(numbers[1:]))


@dataclass(frozen=True)
class CosineGate(Gate):
    """Cos(x, c) against a threshold, c the condition; 0 for an activation of length 0.

    Source: Lee et al. 2024 (arXiv:2409.05907), Conditional Activation Steering, which decides once
    for a whole batch, from the first row's prompt. Here each row and each token decides for itself,
    so a row is steered alike in every batch, and a token that no longer meets the condition is left.
    """

    name: ClassVar[str] = "cosine"

    @staticmethod
    def measure(
        x: Float[Tensor, "row pos d"], unit: Float[Tensor, " d"]
    ) -> Float[Tensor, "row pos"]:
        """What is compared with the threshold, -1 to 1."""
        return (x @ unit) / x.norm(dim=-1).clamp_min(torch.finfo(x.dtype).tiny)


@dataclass(frozen=True)
class ProjectionGate(Gate):
    """X·c against a threshold, a length in activation space; c is the condition."""

    name: ClassVar[str] = "projection"

    @staticmethod
    def measure(
        x: Float[Tensor, "row pos d"], unit: Float[Tensor, " d"]
    ) -> Float[Tensor, "row pos"]:
        """What is compared with the threshold, an absolute length."""
        return x @ unit


@dataclass(frozen=True)
class EigengapGate(Strength):
    """1 where the eigengap of the keys at the steered layer or head is at least the threshold, else 0.

    The gap of a site with a head is that head's, of any other site the smallest of its layer (the
    weakest link). It comes from a table measured beforehand, so nothing is computed while steering.

    Attributes:
        spectra: what `eigengap` measured.
        threshold: least gap that opens the gate, or with `proportional` the gap of full strength.
        below: whether the gate is open under the threshold instead.
        proportional: share min(gap / threshold, 1) instead of 0 or 1.
        group: query heads that share a key head, for sites `q` and `z`.

    Source: the gate that FF-GardenFn/kernel-ridge-steering describes and does not implement. Whether
    small or large gaps should open it is an open question, so neither a side nor a threshold is
    taken from there.
    """

    name: ClassVar[str] = "eigengap"
    spectra: HeadSpectra
    threshold: float
    below: bool = False
    proportional: bool = False
    group: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise BadValueError(
                f"an eigengap lies between 0 and 1; the threshold is {self.threshold}."
            )
        if self.below and self.proportional:
            raise BadValueError("an eigengap gate is either below or proportional, not both.")
        if self.group < 1:
            raise BadValueError(f"{self.group} query heads cannot share a key head.")

    def __str__(self) -> str:
        how = ":below" if self.below else ":proportional" if self.proportional else ""
        return f"{self.name}:{self.threshold!r}{how}"

    def gap(self, site: Site) -> float:
        """The eigengap that decides at a site.

        Raises:
            BadValueError: the table lacks the layer or the head.
        """
        table = self.spectra
        if site.layer not in table.layers:
            raise BadValueError(
                f"the eigengap gate knows layers {', '.join(map(str, table.layers))}, not that of "
                f"{site}."
            )
        gaps = table.gap[table.layers.index(site.layer)]
        if site.head is None:
            return float(gaps.min())
        head = site.head // (self.group if site.stream in {"q", "z"} else 1)
        if head >= len(gaps):
            raise BadValueError(
                f"the eigengap gate knows {len(gaps)} key heads, none for {site}; give `group`, the "
                "number of query heads that share one."
            )
        return float(gaps[head])

    def check(self, site: Site) -> None:
        """Refuse a site that the table does not know."""
        self.gap(site)

    def share(self, moment: Moment) -> Float[Tensor, "1 1"]:
        """The shares."""
        gap = self.gap(moment.site)
        if self.proportional:
            value = min(gap / self.threshold, 1.0)
        else:
            value = float((gap < self.threshold) == self.below)
        return torch.full((1, 1), value, device=moment.step.device)

    @classmethod
    def read(cls, numbers: list[str]) -> Strength:
        """Refused: a text holds no spectra."""
        raise BadValueError(
            f"cannot read strength {':'.join([cls.name, *numbers])!r}: a text holds no spectra; build "
            "EigengapGate(eigengap(model, prompts), threshold) in Python."
        )


STRENGTHS: dict[str, type[Strength]] = {
    kind.name: kind
    for kind in (Constant, Ramp, Decay, Pulse, First, CosineGate, ProjectionGate, EigengapGate)
}


def as_strength(value: Strength | float) -> Strength:
    """The strength itself, or the constant of a number."""
    return value if isinstance(value, Strength) else Constant(float(value))


def _factors(strength: Strength) -> tuple[Strength, ...]:
    return strength.factors if isinstance(strength, Product) else (strength,)


def _at_least_one(strength: Strength, steps: int) -> None:
    if steps < 1:
        raise BadValueError(f"strength {strength}: give at least 1 token.")


def _read_one(text: str) -> Strength:
    try:
        return Constant(float(text))
    except ValueError:
        name, *numbers = text.split(":")
    if name not in STRENGTHS:
        raise UnknownNameError("strength", text, STRENGTHS)
    return STRENGTHS[name].read(numbers)
