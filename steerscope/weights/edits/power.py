"""Sharper or smoother spectra of the same energy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steerscope.errors import BadValueError, DegenerateSpectrumError
from steerscope.weights.changes import Change, with_spectrum
from steerscope.weights.kept import Weight


@dataclass(frozen=True)
class Power:
    """σ' = c σ^(1 + β), with c such that the Frobenius norm stays: β > 0 sharpens, β < 0 smooths.

    Attributes:
        amount: β, above -1.

    Raises:
        BadValueError: β of -1 or less, which would turn the order of the singular values around.
        DegenerateSpectrumError: on a weight, there is nothing but zeros.
    """

    amount: float
    name = "power"
    seed = -1

    def __post_init__(self) -> None:
        if not -1 < self.amount < math.inf:
            raise BadValueError(f"the power is {self.amount:g}; it must be above -1.")

    def change(self, weight: Weight) -> Change:
        """U diag(σ' - σ) Vᵀ."""
        s = weight.svd.s.double()
        if not float(s[0]):
            raise DegenerateSpectrumError(f"weight {weight.place} is zero; choose another weight.")
        raised = s ** (1 + self.amount)
        return with_spectrum(weight, raised * (s.norm() / raised.norm()))
