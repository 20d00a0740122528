"""Rotations of a few dimensions that turn back when their coefficient changes sign."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def n_planes(rank: int) -> int:
    """Numbers that make a skew matrix of that rank."""
    return rank * (rank - 1) // 2


def skew(upper: Float[Tensor, " plane"], rank: int) -> Float[Tensor, "rank rank"]:
    """The matrix with these numbers above its diagonal and their negatives below: A = -Aᵀ."""
    rows, columns = torch.triu_indices(rank, rank, offset=1)
    matrix = upper.new_zeros(rank, rank).index_put((rows, columns), upper)
    return matrix - matrix.T


def bounded(matrix: Float[Tensor, "rank rank"], angle: float) -> Float[Tensor, "rank rank"]:
    """A skew matrix made so small that `cayley` of it turns no plane by more than an angle.

    A -> A / √(1 + (||A||₂ / ω)²) with ω = 2 tan(angle / 2). The eigenvalues of A are ±iω₁, ±iω₂, ...
    and Cayley's transform turns its plane k by 2 arctan(ω_k / 2), so the bound on the spectral norm
    is one on the largest angle. All planes shrink by the same factor, which keeps their ratios.

    Args:
        matrix: skew.
        angle: radians, below π.

    Source: InnerPiSSA bounds each element by θ tanh(a / θ), which lets the angle grow with the rank.
    """
    if len(matrix) < 2:
        return matrix
    limit = 2 * math.tan(angle / 2)
    norm = torch.linalg.matrix_norm(matrix, ord=2)
    return matrix / torch.sqrt(1 + (norm / limit) ** 2)


def cayley(matrix: Float[Tensor, "rank rank"]) -> Float[Tensor, "rank rank"]:
    """The rotation R = (I - A/2)⁻¹ (I + A/2) of a skew matrix A; R(-A) = R(A)ᵀ, R(0) = I exactly."""
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.solve(identity - matrix / 2, identity + matrix / 2)


def largest_angle(rotation: Float[Tensor, "rank rank"]) -> float:
    """The largest angle by which a rotation turns a plane, in radians."""
    return float(torch.linalg.eigvals(rotation.double()).angle().abs().max())
