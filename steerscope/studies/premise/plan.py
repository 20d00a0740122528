"""What a measurement of the eigengap's premise is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from steerscope.errors import BadValueError

LAMBDAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class PremisePlan:
    """How attention is set against kernel ridge regression.

    Attributes:
        model: name or folder.
        contrasts: whose prompts are read.
        prompts: bundled name or file; None for those of the contrast set.
        layers: None for all that have keys.
        n_prompts: at most; λ is chosen on every other one and what is stated is of the rest.
        ridges: λ, relative to the kernel's diagonal.
        backbone: as in `load_model`.
        dtype: likewise.
        bos: likewise.
        revision: likewise.
        seed: of resamples, and of the split whose prompts are read.

    Raises:
        BadValueError: fewer than four prompts, or a λ that is not above 0.
    """

    model: str
    contrasts: str
    prompts: str | None = None
    layers: tuple[int, ...] | None = None
    n_prompts: int = 16
    ridges: tuple[float, ...] = LAMBDAS
    backbone: str = "auto"
    dtype: str = "float32"
    bos: str = "auto"
    revision: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_prompts < 4:
            raise BadValueError(
                f"{self.n_prompts} prompts; give at least 4, since λ is chosen on half of them."
            )
        for ridge in self.ridges:
            if not ridge > 0:
                raise BadValueError(f"ridge {ridge}; it must be above 0.")
