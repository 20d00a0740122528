"""Adapters of the kinds that peft knows, with a coefficient."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BadValueError, check_name
from steerscope.weights.adapter.kinds import KINDS, Kind, Sizes
from steerscope.weights.adapter.records import TrainingRecord
from steerscope.weights.changes import Change
from steerscope.weights.places import Place

Numbers = Mapping[Place, Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class LearnedDesign:
    """What of a model an adapter may change, and of which kind it is.

    Attributes:
        matrices: the weights, such as `down.3`.
        kind: a name in `KINDS`.
        sizes: rank and block.

    Raises:
        UnknownNameError: no such kind.
        BadValueError: no weight, or a weight twice.
    """

    matrices: tuple[Place, ...]
    kind: str = "lora"
    sizes: Sizes = field(default_factory=Sizes)

    def __post_init__(self) -> None:
        check_name("kind of adapter", self.kind, KINDS)
        if not self.matrices or len(set(self.matrices)) < len(self.matrices):
            raise BadValueError("an adapter needs at least one weight matrix, each named once.")


@dataclass(frozen=True, eq=False)
class LearnedAdapter:
    """W(c) of each weight, as its kind says; W exactly at c = 0, and at any c before training.

    Attributes:
        design: what may change, and how.
        bases: each weight W as the model has it, in float32.
        parameters: what is trained of each weight.
        fixed: what was drawn once.
        fingerprint: of the model.
        model: its name.
        sign: +1, or -1 where training led c the wrong way.
        seed: of the training.
        record: what it was trained on.
    """

    design: LearnedDesign
    bases: Mapping[Place, Float[Tensor, "d out"]]
    parameters: Numbers
    fixed: Numbers
    fingerprint: str
    model: str
    sign: int = 1
    seed: int = 0
    record: TrainingRecord | None = None

    @property
    def kind(self) -> Kind:
        """How the numbers make a weight."""
        return KINDS[self.design.kind]

    @property
    def method(self) -> str:
        """The kind by name."""
        return self.design.kind

    @property
    def matrices(self) -> tuple[Place, ...]:
        """The weights that it changes."""
        return self.design.matrices

    @property
    def n_parameters(self) -> int:
        """Numbers that are trained."""
        return sum(t.numel() for part in self.parameters.values() for t in part.values())

    def deltas(self, coefficient: float) -> dict[Place, Change]:
        """What is added to each weight."""
        return {
            m: self.kind.change(
                self.bases[m], {**self.fixed[m], **self.parameters[m]}, self.sign * coefficient
            )
            for m in self.matrices
        }

    def on(self, device: torch.device) -> LearnedAdapter:
        """The same with all its numbers on a device."""

        def moved(numbers: Numbers) -> Numbers:
            return {m: {n: t.to(device) for n, t in part.items()} for m, part in numbers.items()}

        bases = {m: t.to(device) for m, t in self.bases.items()}
        return replace(
            self, bases=bases, parameters=moved(self.parameters), fixed=moved(self.fixed)
        )

    def with_parameters(self, parameters: Numbers) -> LearnedAdapter:
        """The same adapter with other numbers."""
        return replace(self, parameters=parameters)

    def negated(self) -> LearnedAdapter:
        """The adapter whose c is minus this one's."""
        return replace(self, sign=-self.sign)


def untrained_numbers(
    design: LearnedDesign, bases: Mapping[Place, Tensor], seed: int
) -> tuple[dict[Place, dict[str, Tensor]], dict[Place, dict[str, Tensor]]]:
    """What is trained and what is fixed of each weight, before training.

    Raises:
        BadValueError: the sizes do not suit a weight.
    """
    kind = KINDS[design.kind]
    found: tuple[dict[Place, dict[str, Tensor]], dict[Place, dict[str, Tensor]]] = ({}, {})
    for matrix, weight in bases.items():
        for into, make in zip(found, (kind.fresh, kind.fixed), strict=True):
            try:
                into[matrix] = make(weight, design.sizes, _generator(seed, matrix, make.__name__))
            except BadValueError as error:
                raise BadValueError(f"{matrix}: {error}") from None
    return found


def _generator(seed: int, matrix: Place, what: str) -> torch.Generator:
    """Random numbers of their own for each seed, weight and use."""
    digest = hashlib.sha256(f"{seed} {matrix} {what}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
