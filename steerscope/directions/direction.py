"""What a direction is, and how a vector becomes one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.doses import Scale
from steerscope.errors import DegenerateDirectionError, MissingEvidenceError, NotFiniteError
from steerscope.extraction.activations import Contrast, Moments, Provenance
from steerscope.sites import Site

_UNIT_TOLERANCE = 1e-4
_MOST_NOISE = 0.75  # of the square, at which half of the length would be left


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector at a site that points to the positive class, with the lengths of a dose.

    Attributes:
        site: where it lives.
        unit: L2 norm 1.
        scale: absolute lengths of one natural and one relative unit, in activation units.
        method: how it was found.
        provenance: the model, texts, template and seed that it was found from.

    Raises:
        NotFiniteError: the vector holds a NaN or an infinity.
        DegenerateDirectionError: its norm is not 1.
    """

    site: Site
    unit: Float[Tensor, " d"]
    scale: Scale
    method: str
    provenance: Provenance

    def __post_init__(self) -> None:
        if not torch.isfinite(self.unit).all():
            raise NotFiniteError(
                f"the {self.method} direction at {self.site} holds a NaN or an infinity."
            )
        norm = float(self.unit.norm())
        if abs(norm - 1) > _UNIT_TOLERANCE:
            raise DegenerateDirectionError(
                f"the {self.method} direction at {self.site} has norm {norm:g}, not 1."
            )

    def __neg__(self) -> Direction:
        return replace(self, unit=-self.unit)

    @property
    def label(self) -> str:
        """Method, site and seed in one word."""
        seed = self.provenance.seed
        return f"{self.method}@{self.site}" + ("" if seed is None else f"#{seed}")


def class_separation(contrast: Contrast | Moments) -> float:
    """How far the classes lie apart: the natural length at this site, in activation units.

    √(||m||² - tr S / n), m being the mean over n pairs of positive minus negative and S the covariance
    of these differences. A mean over few pairs is longer than what many would give, since noise has a
    length too, by tr S / n in the square (`noise_share` says how much of it). Where noise is more than
    three quarters of the square, what is left is no estimate of a length, and one natural unit is
    ||m||, the mean difference itself.
    """
    length = float(contrast.mean_difference.norm())
    share = noise_share(contrast)
    return length * math.sqrt(1 - share) if share <= _MOST_NOISE else length


def noise_share(contrast: Contrast | Moments) -> float:
    """tr S / n over ||m||², as in `class_separation`: how much of the mean difference is noise.

    1 where noise alone would be as long; 0 for one pair, which shows none.
    """
    squared = float(contrast.mean_difference.norm()) ** 2
    return min(1.0, contrast.noise / squared) if squared > 0 else 0.0


def make_direction(
    contrast: Contrast | Moments,
    vector: Float[Tensor, " d"],
    method: str,
    *,
    seed: int | None = None,
) -> Direction:
    """The direction of a vector of any length, with the dose lengths of its contrast.

    Raises:
        DegenerateDirectionError: the vector or the class separation is zero.
    """
    norm = float(vector.norm())
    apart = float(contrast.mean_difference.norm())
    smallest = torch.finfo(torch.float32).eps * contrast.relative
    for what, length in (("vector", norm), ("difference of the class means", apart)):
        if length <= smallest:
            raise DegenerateDirectionError(
                f"{method} at {contrast.site}: the {what} is zero; the pairs do not differ there."
            )
    return Direction(
        site=contrast.site,
        unit=vector / norm,
        scale=Scale(natural=class_separation(contrast), relative=contrast.relative),
        method=method,
        provenance=replace(contrast.provenance, seed=seed),
    )


def towards_positive(contrast: Contrast, vector: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """The vector or its negative, whichever has the positive class ahead on average."""
    return vector if float((contrast.differences @ vector).mean()) >= 0 else -vector


def needed(contrast: Contrast, evidence: str, method: str) -> Any:
    """What a method needs of the contrast beyond the activations.

    Raises:
        MissingEvidenceError: the contrast does not hold it.
    """
    value = getattr(contrast, evidence)
    if value is None:
        raise MissingEvidenceError(
            f"{method} at {contrast.site} needs {evidence!r}, which this contrast does not hold; "
            "read the pairs with steerscope.gather and name the method, or set it with "
            "dataclasses.replace."
        )
    return value
