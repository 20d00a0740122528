"""Strengths by what an activation is, or by what is known of its site."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions import Direction
from steerscope.eigengaps import HeadSpectra
from steerscope.errors import BadValueError
from steerscope.models.lens_model import ModelShape
from steerscope.sites import Site
from steerscope.steering.strengths.strength import Moment, Strength
from steerscope.texts.numbers import read_real

_QUERY_STREAMS = {"q", "z"}  # one head for each query head


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
                f"gate {self}: this pass did not run {site}; start it at block {site.first_block} or before."
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
            threshold = read_real(numbers[0])
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
    """Open where the activation x points towards the condition c: cos(x, c) >= threshold.

    An activation of length 0 counts as cosine 0.

    Attributes:
        threshold: a cosine, -1 to 1.
        below: whether the gate is open under the threshold instead.
        condition: the direction c, at its own site, which must come before the steered one; None
            for the steered direction and site.

    Raises:
        BadValueError: the threshold is not a cosine.

    Source: Lee et al. 2024 (arXiv:2409.05907), Conditional Activation Steering, which decides once
    for a whole batch, from the first row's prompt. Here each row and each token decides for itself,
    so a row is steered alike in every batch, and a token that no longer meets the condition is left.
    """

    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1 <= self.threshold <= 1:
            raise BadValueError(
                f"a cosine lies between -1 and 1; the threshold of gate {self.name!r} is {self.threshold}."
            )

    @staticmethod
    def measure(
        x: Float[Tensor, "row pos d"], unit: Float[Tensor, " d"]
    ) -> Float[Tensor, "row pos"]:
        """What is compared with the threshold, -1 to 1."""
        return (x @ unit) / x.norm(dim=-1).clamp_min(torch.finfo(x.dtype).tiny)


@dataclass(frozen=True)
class ProjectionGate(Gate):
    """Open where the activation x reaches far enough along the condition c: x·c >= threshold.

    Attributes:
        threshold: a length in activation units, of either sign.
        below: whether the gate is open under the threshold instead.
        condition: the direction c, of norm 1, at its own site, which must come before the steered
            one; None for the steered direction and site.

    Raises:
        BadValueError: the threshold is not finite.
    """

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
        group: query heads that share a key head, for sites `q` and `z`, as the model has it.

    Raises:
        BadValueError: both `below` and `proportional`, or a group of less than one head.

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
        head = site.head // (self.group if site.stream in _QUERY_STREAMS else 1)
        if head >= len(gaps):
            raise BadValueError(
                f"the eigengap gate knows {len(gaps)} key heads, none for {site}; give `group`, the "
                "number of query heads that share one."
            )
        return float(gaps[head])

    def check(self, site: Site) -> None:
        """Refuse a site that the table does not know."""
        self.gap(site)

    def check_model(self, site: Site, shape: ModelShape) -> None:
        """Refuse a site of a query head where another number of them shares a key head.

        Raises:
            BadValueError: the gap would be that of another key head.
        """
        group = shape.n_heads // shape.n_key_value_heads
        if site.head is not None and site.stream in _QUERY_STREAMS and group != self.group:
            raise BadValueError(
                f"gate {self} at {site}: {group} query heads share a key head in this model, and the "
                f"gate takes {self.group}; give group={group}."
            )

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
        """Refused: a text holds no spectra.

        Raises:
            BadValueError: always.
        """
        raise BadValueError(
            f"cannot read strength {':'.join([cls.name, *numbers])!r}: a text holds no spectra; build "
            "EigengapGate(eigengap(model, prompts), threshold) in Python."
        )
