"""What an edit does to a weight: W' - W, as one matrix or as the product of two thin ones."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from steerscope.weights.kept import Weight

_ALIKE = 1e-6  # relative spread of σ'/σ below which all factors are the same


@dataclass(frozen=True, eq=False)
class Change:
    """W' - W.

    Attributes:
        left: the change, or its first factor.
        right: its second factor.
        spectrum: singular values of W' in the order of those of W, where the vectors are kept;
            they need not descend.
        is_gain: whether W' is W times a number.
        bias: added to what the weight gives, beside the change of the weight.
    """

    left: Float[Tensor, "row rank"]
    right: Float[Tensor, "rank d"] | None = None
    spectrum: Float[Tensor, " value"] | None = None
    is_gain: bool = False
    bias: Float[Tensor, " d"] | None = None

    def of(self, x: Float[Tensor, "*batch row"]) -> Float[Tensor, "*batch d"]:
        """x (W' - W), and the bias."""
        x = x @ self.left.to(x.dtype)
        x = x if self.right is None else x @ self.right.to(x.dtype)
        return x if self.bias is None else x + self.bias.to(x.dtype)

    @property
    def dense(self) -> Float[Tensor, "row d"]:
        """The change as one matrix."""
        return self.left if self.right is None else self.left @ self.right

    def norm(self, weight: Weight) -> float:
        """Frobenius norm of the change."""
        if self.spectrum is not None:
            return float((self.spectrum - weight.svd.s).double().norm())
        return float(self.dense.double().norm())


def with_spectrum(weight: Weight, spectrum: Float[Tensor, " value"]) -> Change:
    """The change from σ to σ' under the same singular vectors, U diag(σ' - σ) Vᵀ."""
    u, s, vh = weight.svd
    spectrum = spectrum.to(s)
    change = spectrum - s
    moved = change != 0
    factors = (spectrum / s)[s > 0]
    alike = len(factors) > 0 and float(factors.max() - factors.min()) <= _ALIKE * float(
        factors.abs().max()
    )
    if bool(moved.all()):
        return Change(u, change[:, None] * vh, spectrum, is_gain=alike)
    return Change(u[:, moved], change[moved, None] * vh[moved], spectrum)
