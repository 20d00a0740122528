"""The landscape of the activations at a site, and the path that steering takes through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.errors import DegenerateDirectionError, UnknownNameError
from steerscope.extraction.activations import Contrast, extract
from steerscope.models.lens_model import LensModel
from steerscope.sites import Site
from steerscope.steering.interventions import Steering, steer
from steerscope.texts.contrasts import ContrastSet

AXES = ("classes", "components")


@dataclass(frozen=True, eq=False)
class Landscape:
    """Activations of two classes in a plane through their mean.

    Attributes:
        site: where was read.
        points: one row per text with side, first and second, in activation units.
        path: one row per dose with dose_natural, first and second: the mean of all texts.
        explained: share of the variance of the plain activations along each of the two.
        axes: what spans the plane.
    """

    site: Site
    points: pd.DataFrame
    path: pd.DataFrame
    explained: tuple[float, float]
    axes: str


def activation_landscape(
    model: LensModel,
    pairs: ContrastSet,
    direction: Direction,
    *,
    doses: Sequence[float],
    site: Site,
    axes: str = "classes",
) -> Landscape:
    """Project the last tokens of both classes, plain, and their mean under every dose.

    The axes are those of the plain activations and stay the same for all doses; the first points to
    the positive class. Read behind the site of the direction, the path is what the model makes of the
    steering; at that site itself it is a straight line.

    Args:
        model: the model.
        pairs: texts of both classes.
        direction: what is added, at all positions but 0.
        doses: in natural units; 0 is the plain mean.
        site: where to read, at or behind the site of the direction.
        axes: `classes` for the difference of the class means and the largest principal component at
            right angles to it; `components` for the first two principal components, in which what
            pairs share, such as their topic, often hides what they differ in.

    Raises:
        UnknownNameError: no such axes.
        DegenerateDirectionError: the activations do not vary along two axes.
    """
    if axes not in AXES:
        raise UnknownNameError("axes of a landscape", axes, AXES)
    plain = _activations(extract(model, pairs, [site])[site])
    centre = plain.mean(dim=0)
    plane = _plane(plain - centre, len(pairs), axes, site)
    points = (plain - centre) @ plane.T
    rows = []
    for dose in doses:
        with steer(model, Steering(direction, Dose(dose, "natural"))):
            moved = _activations(extract(model, pairs, [site])[site])
        first, second = (plane @ (moved.mean(dim=0) - centre)).tolist()
        rows.append({"dose_natural": float(dose), "first": first, "second": second})
    shares = (points.var(dim=0) / plain.var(dim=0).sum()).tolist()
    sides = ["positive"] * len(pairs) + ["negative"] * len(pairs)
    table = pd.DataFrame({"side": sides, "first": points[:, 0], "second": points[:, 1]})
    return Landscape(site, table, pd.DataFrame(rows), (shares[0], shares[1]), axes)


def _plane(
    centred: Float[Tensor, "sample d"], n_pairs: int, axes: str, site: Site
) -> Float[Tensor, "2 d"]:
    """Two orthonormal rows, the first towards the positive class."""
    difference = centred[:n_pairs].mean(dim=0) - centred[n_pairs:].mean(dim=0)
    length = float(centred.norm(dim=1).max())
    if axes == "classes":
        if float(difference.norm()) <= 1e-6 * length:
            raise DegenerateDirectionError(f"the classes have the same mean at {site}.")
        first = difference / difference.norm()
        centred = centred - (centred @ first)[:, None] * first
    _, values, components = torch.linalg.svd(centred, full_matrices=False)
    needed = 1 if axes == "classes" else 2
    if len(values) < needed or float(values[needed - 1]) <= 1e-6 * length:
        raise DegenerateDirectionError(
            f"the activations at {site} do not vary along two axes; give more pairs."
        )
    plane = torch.stack([first, components[0]]) if axes == "classes" else components[:2]
    return plane if float(plane[0] @ difference) >= 0 else -plane


def _activations(contrast: Contrast) -> Float[Tensor, "sample d"]:
    return torch.cat([contrast.positive, contrast.negative]).double()
