"""S-space: the concept within the strongest singular directions of a weight at the site.

The weight W has its rows in the site's space, so that with W = U S Vᵀ the first r columns V of the
right singular vectors span what the weight mostly reads from the site, or mostly writes to it.
P = V Vᵀ keeps that part of an activation. A mean and P may change places, a principal axis and P may
not, hence three methods. Which weight stands at which site is told in `models.weights`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions.direction import Direction, make_direction, needed, towards_positive
from steerscope.directions.pca import first_axis
from steerscope.errors import BadValueError
from steerscope.extraction.activations import Contrast


def sspace_mean(contrast: Contrast, *, rank: int | None = None) -> Direction:
    """The mean difference within the S-space; projecting first or last makes no difference.

    unit ∝ P mean(d) = mean(P d)

    Args:
        contrast: activations with a `weight`.
        rank: singular directions kept; default a quarter of the weight's smaller side.

    Raises:
        MissingEvidenceError: the contrast has no `weight`.
        BadValueError: the rank is not between 1 and the weight's smaller side.
        DegenerateDirectionError: the difference has no part in the S-space.

    Source: the direction of steering-lite's "sspace", whose scaling by √S cancels between finding
    and adding; its gate is a matter of strength.
    """
    basis = sspace_basis(contrast, "sspace_mean", rank)
    return make_direction(
        contrast, basis @ (basis.T @ contrast.differences.mean(dim=0)), "sspace_mean"
    )


def sspace_aggregate_then_project(contrast: Contrast, *, rank: int | None = None) -> Direction:
    """The first axis of the differences in the whole space, then its part in the S-space.

    unit ∝ P argmax_u Σᵢ (dᵢ·u)². Where something outside the S-space varies more than the concept,
    little or nothing of the concept is left.

    Args:
        contrast: activations with a `weight`.
        rank: as in `sspace_mean`.

    Raises:
        MissingEvidenceError: the contrast has no `weight`.
        BadValueError: the rank is not between 1 and the weight's smaller side.
        DegenerateDirectionError: the axis has no part in the S-space.

    Source: option A of wassname's journal for InnerPiSSA, with the mean kept in, as in
    `pca_uncentred`.
    """
    method = "sspace_aggregate_then_project"
    basis = sspace_basis(contrast, method, rank)
    axis = first_axis(contrast, contrast.differences, method)
    return make_direction(contrast, towards_positive(contrast, basis @ (basis.T @ axis)), method)


def sspace_project_then_aggregate(contrast: Contrast, *, rank: int | None = None) -> Direction:
    """The first axis of the differences' parts in the S-space.

    unit = V argmax_c Σᵢ ((Vᵀdᵢ)·c)²: what lies outside the S-space has no say. At full rank this,
    `sspace_aggregate_then_project` and `pca_uncentred` are one vector.

    Args:
        contrast: activations with a `weight`.
        rank: as in `sspace_mean`.

    Raises:
        MissingEvidenceError: the contrast has no `weight`.
        BadValueError: the rank is not between 1 and the weight's smaller side.
        DegenerateDirectionError: the differences have no part in the S-space.

    Source: option B of wassname's journal for InnerPiSSA, with the mean kept in.
    """
    method = "sspace_project_then_aggregate"
    basis = sspace_basis(contrast, method, rank)
    axis = basis @ first_axis(contrast, contrast.differences @ basis, method)
    return make_direction(contrast, towards_positive(contrast, axis), method)


def sspace_basis(
    contrast: Contrast, method: str = "sspace_basis", rank: int | None = None
) -> Float[Tensor, "d rank"]:
    """Orthonormal basis of the S-space: the first `rank` right singular vectors of the weight.

    Raises:
        MissingEvidenceError: the contrast has no `weight`.
        BadValueError: the rank is not between 1 and the weight's smaller side.
    """
    weight = needed(contrast, "weight", method)
    largest = min(weight.shape)
    rank = max(1, largest // 4) if rank is None else rank
    if not 1 <= rank <= largest:
        raise BadValueError(
            f"{method} at {contrast.site}: rank {rank} must lie between 1 and {largest}."
        )
    _, _, axes = torch.linalg.svd(weight.double(), full_matrices=False)
    return axes[:rank].T.to(contrast.positive.dtype)
