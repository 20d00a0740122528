"""Principal axes of the pair differences D = h₊ - h₋."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.activations import Contrast
from steerscope.directions.direction import Direction, make_direction, towards_positive
from steerscope.errors import DegenerateDirectionError


def pca_uncentred(contrast: Contrast) -> Direction:
    """First right singular vector of the differences, mean kept in.

    unit = argmax_u Σᵢ (dᵢ·u)², signed so that the positive class is ahead on average.

    Raises:
        DegenerateDirectionError: the differences are all zero.

    Source: Zou et al. 2023 (arXiv:2310.01405), without the random flips of the pairs.
    """
    return _first_axis(contrast, contrast.differences, "pca_uncentred")


def pca_centred(contrast: Contrast) -> Direction:
    """First principal axis of the differences about their mean.

    unit = argmax_u Σᵢ ((dᵢ - d̄)·u)², signed as `pca_uncentred`. Centring takes the mean
    difference out, so this is the axis along which the pairs disagree, not the concept's own; it
    is here because a published toolkit uses it under the name "pca_diff".

    Raises:
        DegenerateDirectionError: fewer than two pairs, or all differences are equal.

    Source: vgel/repeng 0.4, method "pca_diff"; sign by the mean projection, not by a pair vote.
    """
    differences = contrast.differences
    return _first_axis(contrast, differences - differences.mean(dim=0), "pca_centred")


def _first_axis(contrast: Contrast, rows: Float[Tensor, "pair d"], method: str) -> Direction:
    _, strengths, axes = torch.linalg.svd(rows.double(), full_matrices=False)
    if float(strengths[0]) <= torch.finfo(torch.float32).eps * contrast.relative * len(rows) ** 0.5:
        raise DegenerateDirectionError(
            f"{method} at {contrast.site}: the differences do not vary; give more pairs."
        )
    axis = axes[0].to(rows.dtype)
    return make_direction(contrast, towards_positive(contrast, axis), method)
