"""What a direction is, and how a vector becomes one."""

from __future__ import annotations

import math
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerscope.directions.elsewhere import Hook, in_transformers, lens_hook
from steerscope.doses import Dose, Scale
from steerscope.errors import DegenerateDirectionError, MissingEvidenceError, NotFiniteError
from steerscope.extraction.activations import Contrast, Moments, Provenance
from steerscope.sites import Site
from steerscope.texts.showing import counted_pairs, facts_as_html

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
        NotFiniteError: the vector is not finite.
        DegenerateDirectionError: its norm is not 1.
    """

    site: Site
    unit: Float[Tensor, " d"]
    scale: Scale
    method: str
    provenance: Provenance

    def __post_init__(self) -> None:
        if not torch.isfinite(self.unit).all():
            raise NotFiniteError(f"the {self.method} direction at {self.site} is not finite.")
        norm = float(self.unit.norm())
        if abs(norm - 1) > _UNIT_TOLERANCE:
            raise DegenerateDirectionError(
                f"the {self.method} direction at {self.site} has norm {norm:g}, not 1."
            )

    def __repr__(self) -> str:
        facts = (f"{k} {v}" for k, v in self._facts.items() if k not in {"place", "model"})
        return f"Direction({self.label} of {self.provenance.model}: {', '.join(facts)})"

    def _repr_html_(self) -> str:
        return facts_as_html(f"Direction {self.label}", self._facts)

    @property
    def _facts(self) -> dict[str, str]:
        """What is known of it, in words."""
        origin, scale = self.provenance, self.scale
        return {
            "place": self.site.words,
            "model": origin.model,
            "from": f"{counted_pairs(origin.n_pairs, origin.contrasts)}, {origin.read}",
            "natural unit": f"{scale.natural:.4g}",
            "relative unit": f"{scale.relative:.4g}",
        }

    def __neg__(self) -> Direction:
        # told by its name, since rows of results do not hold the vector
        found = re.fullmatch(r"negated\((.*)\)", self.method)
        method = found[1] if found else f"negated({self.method})"
        return replace(self, unit=-self.unit, method=method)

    def hook(self, dose: Dose | float = 1.0, *, first: bool = False) -> tuple[str, Hook]:
        """For TransformerLens alone: `model.run_with_hooks(text, fwd_hooks=[direction.hook(3.0)])`.

        Adds the direction at every position but 0, as `steer` does. A pass over several tokens is
        taken to begin at position 0, one over a single token to be a step of cached decoding.

        Args:
            dose: how much; a number is natural units.
            first: whether position 0 is moved as well.

        Returns:
            The name of the hook point, and the function for it.

        Raises:
            BadValueError: the dose is no length.
        """
        return lens_hook(self, dose, first=first)

    def to_transformers(
        self, model: nn.Module, dose: Dose | float = 1.0, *, first: bool = False
    ) -> AbstractContextManager[nn.Module]:
        """For transformers alone: `with direction.to_transformers(model, 3.0): model.generate(...)`.

        Adds the direction at every position but 0, as `steer` does, cached or not and in batches
        padded on the left; afterwards the model is as it was.

        Args:
            model: a causal language model of transformers, the one that the direction is of.
            dose: how much; a number is natural units.
            first: whether position 0 is moved as well.

        Raises:
            BadValueError: the dose is no length, or the model's blocks are not to be found.
            UnsupportedSiteError: the direction is not at `resid_post` or `resid_pre` of a block.
            VectorMismatchError: its width is not the model's.
        """
        return in_transformers(self, model, dose, first=first)

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
