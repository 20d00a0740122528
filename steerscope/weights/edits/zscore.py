"""Singular values scaled by how far each is from their mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steerscope.errors import BadValueError, DegenerateSpectrumError
from steerscope.weights.changes import Change, with_spectrum
from steerscope.weights.kept import Weight


@dataclass(frozen=True)
class ZScore:
    """σ'_i = σ_i (1 + α (σ_i - mean σ) / std σ), std with n - 1.

    α > 0 sharpens; α < 0 compresses the top and lifts all values under the mean.

    Attributes:
        amount: α.
        clamp: whether a value that would change sign becomes 0; else the edit is refused.

    Raises:
        BadValueError: α is no number; on a weight, α is so large that a value would change sign,
            and that is not clamped.
        DegenerateSpectrumError: on a weight, all singular values are the same.

    Source: the successor of "spectral steering", which lets values change sign unseen.
    """

    amount: float
    clamp: bool = False
    seed = -1

    def __post_init__(self) -> None:
        if not math.isfinite(self.amount):
            raise BadValueError(f"the amount of a zscore edit is {self.amount:g}; give a number.")

    @property
    def name(self) -> str:
        """`zscore` or `zscore[clamp]`."""
        return "zscore[clamp]" if self.clamp else "zscore"

    def change(self, weight: Weight) -> Change:
        """U diag(σ' - σ) Vᵀ."""
        s = weight.svd.s.double()
        spread = float(s.std()) if len(s) > 1 else 0.0
        if spread <= 1e-9 * float(s[0]):
            raise DegenerateSpectrumError(
                f"weight {weight.place} has {len(s)} equal singular values, of which none is far "
                "from the mean; use gain."
            )
        z = (s - s.mean()) / spread
        factor = 1 + self.amount * z
        if self.clamp:
            factor = factor.clamp_min(0)
        elif float(factor.min()) < 0:
            low, high = -1 / float(z.max()), -1 / float(z.min())
            raise BadValueError(
                f"zscore {self.amount:+g} turns singular values of {weight.place} negative; stay "
                f"within {low:+.3g} to {high:+.3g}, or use zscore[clamp], which stops at 0."
            )
        return with_spectrum(weight, s * factor)
