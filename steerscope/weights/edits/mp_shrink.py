"""Singular values that a matrix of pure noise would have, made smaller."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BadValueError
from steerscope.weights.changes import Change, with_spectrum
from steerscope.weights.kept import Weight


def noise_edge(s: Float[Tensor, " value"], shape: tuple[int, int]) -> float:
    """Largest singular value to be expected of independent entries of the same mean square.

    √(n v) (1 + √(d/n)) with n x d the shape, n >= d, and v = Σσ² / (n d).

    Source: Marchenko & Pastur 1967. That v counts the signal as noise, as the source of `mp_shrink`
    does, makes the edge too high rather than too low.
    """
    n, d = max(shape), min(shape)
    variance = float((s.double() ** 2).sum()) / (n * d)
    return (n * variance) ** 0.5 * (1 + (d / n) ** 0.5)


@dataclass(frozen=True)
class MPShrink:
    """σ' = (1 - α) σ for all σ within the Marchenko-Pastur edge; those above it stay.

    Attributes:
        amount: α from 0 to 1; 1 deletes all that could be noise.

    Raises:
        BadValueError: α outside 0..1.

    Source: the Marchenko-Pastur filter of the successor of "spectral steering", which is α = 1.
    """

    amount: float
    name = "mp_shrink"
    seed = -1

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= 1:
            raise BadValueError(f"the shrinkage is {self.amount:g}; it must be from 0 to 1.")

    def change(self, weight: Weight) -> Change:
        """U diag(σ' - σ) Vᵀ."""
        s = weight.svd.s
        rows, columns = weight.base.shape
        noise = s <= noise_edge(s, (rows, columns))
        return with_spectrum(weight, torch.where(noise, (1 - self.amount) * s, s))
