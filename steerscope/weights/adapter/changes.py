"""Changes of weights with a coefficient, and the intervention that makes one for a while."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.backbones.products import adding_to_product
from steerscope.errors import BadValueError, VectorMismatchError
from steerscope.interventions import Rows
from steerscope.model import LensModel
from steerscope.weights.adapter.matrices import Matrix


@dataclass(frozen=True, eq=False)
class Delta:
    """What is added to a weight W of y = x W: `left @ right`, or `left` alone."""

    left: Float[Tensor, "d rank"]
    right: Float[Tensor, "rank out"] | None = None

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch out"]:
        """What it adds to x W."""
        y = x @ self.left
        return y if self.right is None else y @ self.right

    def to(self, device: torch.device, dtype: torch.dtype) -> Delta:
        """The same on a device and in a number format."""
        right = None if self.right is None else self.right.to(device, dtype)
        return Delta(self.left.to(device, dtype), right)

    def dense(self) -> Float[Tensor, "d out"]:
        """The whole matrix, in float64."""
        left = self.left.double()
        return left if self.right is None else left @ self.right.double()


@runtime_checkable
class WeightChange(Protocol):
    """A change of some weights that grows with a coefficient and is none at all at 0."""

    @property
    def method(self) -> str:
        """How it was made, in one word."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of the model that it belongs to."""
        ...

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """The weights that it changes."""
        ...

    @property
    def n_parameters(self) -> int:
        """Numbers that were trained."""
        ...

    @property
    def seed(self) -> int:
        """Of its training."""
        ...

    def deltas(self, coefficient: float) -> Mapping[Matrix, Delta]:
        """What is added to each weight at a coefficient."""
        ...


@dataclass(frozen=True)
class Adapted:
    """A change of weights at a coefficient: every product x W becomes x W + x D(c).

    The weights stay as they are and D(c) is added where they are used, so that the rows of one
    batch may have different coefficients. At c = 0 nothing is touched at all. Interventions that
    steer what an adapted `o` or `down` reads come before this one.

    Attributes:
        change: what is changed.
        coefficient: c; trained from -1 to 1.

    Raises:
        BadValueError: the coefficient is not finite.
    """

    change: WeightChange
    coefficient: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.coefficient):
            raise BadValueError(f"coefficient {self.coefficient}; give a finite number.")

    def labels(self) -> dict[str, str | float]:
        """Method, matrices and coefficient; the coefficient stands where a dose has natural units."""
        matrices = self.change.matrices
        return {
            "method": self.change.method,
            "stream": "+".join(dict.fromkeys(m.name for m in matrices)),
            "layer": min(m.layer for m in matrices),
            "head": -1,
            "operator": "adapt",
            "scope": "all",
            "dose_absolute": math.nan,
            "dose_relative": math.nan,
            "dose_natural": self.coefficient,
            "strength": 1.0,
            "seed": self.change.seed,
        }

    def first_block(self, prompt_length: int) -> int | None:  # noqa: ARG002 - any prompt
        """The first block with a changed weight; None at coefficient 0."""
        if self.coefficient == 0:
            return None
        return min(m.layer for m in self.change.matrices)

    @contextmanager
    def attach(self, model: LensModel, rows: Rows | None = None) -> Iterator[None]:
        """Add the change to every product of its weights.

        Raises:
            VectorMismatchError: the change belongs to another model.
            UnsupportedSiteError: the model lacks a weight.
        """
        check_model(self.change, model)
        found = self.change.deltas(self.coefficient) if self.coefficient else {}
        with adding(model, found, rows):
            yield


def check_model(change: WeightChange, model: LensModel) -> None:
    """Refuse a change that belongs to another model.

    Raises:
        VectorMismatchError: it does.
    """
    if change.fingerprint != model.fingerprint:
        raise VectorMismatchError(
            f"this {change.method} belongs to a model {change.fingerprint[:12]}, not to "
            f"{model.name} ({model.fingerprint[:12]}); train it again on this model."
        )


@contextmanager
def adding(
    model: LensModel, deltas: Mapping[Matrix, Delta], rows: Rows | None = None
) -> Iterator[None]:
    """While active, every product with a weight has its delta's product added, for all or some rows."""
    with ExitStack() as stack:
        for matrix, delta in deltas.items():
            delta = delta.to(model.device, model.dtype)

            def add(x: Tensor, delta: Delta = delta) -> Tensor | None:
                if rows is None:
                    return delta(x)
                if not len(rows.index):
                    return None
                part = delta(x[rows.index])
                return part.new_zeros(len(x), *part.shape[1:]).index_copy(0, rows.index, part)

            stack.enter_context(adding_to_product(model, matrix.name, matrix.layer, add))
        yield
