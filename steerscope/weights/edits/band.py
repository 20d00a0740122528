"""A gain on a range of singular values."""

from __future__ import annotations

from dataclasses import dataclass

from steerscope.errors import BadValueError
from steerscope.weights.changes import Change, with_spectrum
from steerscope.weights.kept import Weight


@dataclass(frozen=True)
class Band:
    """σ'_i = (1 - α) σ_i for first <= i <= last, counted from 0 at the largest; the others stay.

    Attributes:
        amount: α, at most 1, which deletes the band.
        first: index of the first singular value.
        last: index of the last one; None for the end.

    Raises:
        BadValueError: α above 1, or a range that is empty, also on a weight of fewer values.
    """

    amount: float
    first: int = 0
    last: int | None = None
    seed = -1

    def __post_init__(self) -> None:
        if not -float("inf") < self.amount <= 1:
            raise BadValueError(f"the gain is {self.amount:g}; at most 1, which deletes the band.")
        if self.first < 0 or (self.last is not None and self.last < self.first):
            raise BadValueError(f"the band {self.first}-{self.last} is empty; write it as 0-8.")

    @property
    def name(self) -> str:
        """Such as `band[0-8]`, or `band[8-]` to the end."""
        return f"band[{self.first}-{'' if self.last is None else self.last}]"

    def change(self, weight: Weight) -> Change:
        """U diag(σ' - σ) Vᵀ."""
        s = weight.svd.s.clone()
        if self.first >= len(s):
            raise BadValueError(
                f"{self.name} starts behind the {len(s)} singular values of {weight.place}."
            )
        stop = None if self.last is None else self.last + 1
        s[self.first : stop] *= 1 - self.amount
        return with_spectrum(weight, s)
