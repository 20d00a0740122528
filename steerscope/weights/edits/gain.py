"""A gain: the whole matrix times a number."""

from __future__ import annotations

from dataclasses import dataclass

from steerscope.errors import BadValueError
from steerscope.weights.changes import Change
from steerscope.weights.kept import Weight


@dataclass(frozen=True)
class Gain:
    """σ' = (1 - α) σ for every singular value, which is W' = (1 - α) W.

    No spectrum changes, for all its shape and all its vectors stay: it is a smaller (α > 0) or larger
    (α < 0) share of what the matrix writes, and needs no singular values.

    Attributes:
        amount: α; at most 1, which deletes the matrix.

    Raises:
        BadValueError: α above 1, which would change the sign of the matrix.

    Source: "spectral steering", where α > 0 is called smoothing and α < 0 sharpening.
    """

    amount: float
    name = "gain"
    seed = -1

    def __post_init__(self) -> None:
        if not -float("inf") < self.amount <= 1:
            raise BadValueError(
                f"the gain is {self.amount:g}; at most 1, which deletes the matrix."
            )

    def change(self, weight: Weight) -> Change:
        """-α W."""
        return Change(-self.amount * weight.base, is_gain=self.amount != 0)
