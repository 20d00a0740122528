"""The landscape of the activations at a site, and the path that steering takes through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.activations import Contrast, extract
from steerscope.contrasts import ContrastSet
from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.errors import DegenerateDirectionError
from steerscope.interventions import Steering, steer
from steerscope.model import LensModel
from steerscope.sites import Site


@dataclass(frozen=True, eq=False)
class Landscape:
    """Activations of two classes in the plane of their first two principal components.

    Attributes:
        site: where was read.
        points: one row per text with side, first and second, in activation units.
        path: one row per dose with dose_natural, first and second: the mean of all texts.
        explained: share of the variance of the plain activations along each of the two.
    """

    site: Site
    points: pd.DataFrame
    path: pd.DataFrame
    explained: tuple[float, float]


def activation_landscape(
    model: LensModel,
    pairs: ContrastSet,
    direction: Direction,
    *,
    doses: Sequence[float],
    site: Site,
) -> Landscape:
    """Project the last tokens of both classes, plain, and their mean under every dose.

    The components are those of the plain activations and stay the same for all doses; the first
    points to the positive class. Read behind the site of the direction, the path is what the model
    makes of the steering; at that site itself it is a straight line.

    Args:
        model: the model.
        pairs: texts of both classes.
        direction: what is added, at all positions but 0.
        doses: in natural units; 0 is the plain mean.
        site: where to read, at or behind the site of the direction.

    Raises:
        DegenerateDirectionError: the activations do not vary along two components.
    """
    plain = _activations(extract(model, pairs, [site])[site])
    centre = plain.mean(dim=0)
    _, values, components = torch.linalg.svd(plain - centre, full_matrices=False)
    if len(values) < 2 or float(values[1]) <= 1e-6 * float(values[0]):
        raise DegenerateDirectionError(
            f"the activations at {site} do not vary along two components; give more pairs."
        )
    plane = components[:2]
    points = (plain - centre) @ plane.T
    if points[: len(pairs), 0].mean() < 0:
        plane, points = -plane, -points
    rows = []
    for dose in doses:
        with steer(model, Steering(direction, Dose(dose, "natural"))):
            moved = _activations(extract(model, pairs, [site])[site])
        first, second = (plane @ (moved.mean(dim=0) - centre)).tolist()
        rows.append({"dose_natural": float(dose), "first": first, "second": second})
    shares = (values**2 / (values**2).sum())[:2].tolist()
    sides = ["positive"] * len(pairs) + ["negative"] * len(pairs)
    table = pd.DataFrame({"side": sides, "first": points[:, 0], "second": points[:, 1]})
    return Landscape(site, table, pd.DataFrame(rows), (shares[0], shares[1]))


def _activations(contrast: Contrast) -> Float[Tensor, "sample d"]:
    return torch.cat([contrast.positive, contrast.negative]).double()
