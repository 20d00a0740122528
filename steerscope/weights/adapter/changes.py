"""Changes of weights with a coefficient, and the intervention that makes one for a while."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from steerscope.errors import BadValueError, VectorMismatchError
from steerscope.models.fingerprints import same_weights
from steerscope.models.lens_model import LensModel
from steerscope.models.matrices import weight_matrix
from steerscope.steering.interventions import Rows
from steerscope.weights.changes import Change
from steerscope.weights.places import Place


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
    def matrices(self) -> tuple[Place, ...]:
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

    def deltas(self, coefficient: float) -> Mapping[Place, Change]:
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
            UnsupportedWeightError: the model lacks a weight.
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
    if not same_weights(change.fingerprint, model.fingerprint):
        raise VectorMismatchError(
            f"this {change.method} belongs to a model {change.fingerprint[:12]}, not to "
            f"{model.name} ({model.fingerprint[:12]}); train it again on this model."
        )


@contextmanager
def adding(
    model: LensModel, deltas: Mapping[Place, Change], rows: Rows | None = None
) -> Iterator[None]:
    """While active, every product with a weight has its delta's product added, for all or some rows."""
    with ExitStack() as stack:
        for place, delta in deltas.items():
            matrix = weight_matrix(model, place.name, place.layer)

            def add(x: Tensor, delta: Change = delta) -> tuple[Tensor | None, Tensor] | None:
                if rows is None:
                    return None, delta.of(x)
                return (rows.index, delta.of(x[rows.index])) if len(rows.index) else None

            stack.enter_context(matrix.adding(add))
        yield
