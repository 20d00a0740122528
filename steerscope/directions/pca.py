"""Principal axes of the pair differences D = h₊ - h₋."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions.direction import Direction, make_direction, needed, towards_positive
from steerscope.errors import DegenerateDirectionError
from steerscope.extraction.activations import Contrast


def pca_uncentred(contrast: Contrast) -> Direction:
    """First right singular vector of the differences, mean kept in.

    unit = argmax_u Σᵢ (dᵢ·u)², signed so that the positive class is ahead on average.

    `pca_pair_centred` is this same vector under another name. There every activation has the mean
    of its pair taken off and both classes are stacked; the rows are then ±dᵢ/2, whose mean is zero
    and whose second moment is half that of the differences, so the axes agree to the last digit.

    Raises:
        DegenerateDirectionError: the differences are all zero.

    Source: Zou et al. 2023 (arXiv:2310.01405), without the random flips and the centring; repeng's
    "pca_center" and the pairwise mode of IBM/activation-steering are the alias.
    """
    axis = first_axis(contrast, contrast.differences, "pca_uncentred")
    return make_direction(contrast, towards_positive(contrast, axis), "pca_uncentred")


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
    axis = first_axis(contrast, differences - differences.mean(dim=0), "pca_centred")
    return make_direction(contrast, towards_positive(contrast, axis), "pca_centred")


def pca_weighted(contrast: Contrast) -> Direction:
    """`pca_uncentred` with the pairs weighted by how likely the model finds their texts.

    unit = argmax_u Σᵢ wᵢ (dᵢ·u)², w = `pair_weights`.

    Raises:
        MissingEvidenceError: the contrast has no `log_likelihood`.
        DegenerateDirectionError: the differences are all zero.

    Source: wassname's repeng fork, "pca_diff_weighted", which takes the weighted mean out first and
    so finds the axis along which the pairs disagree; here the mean stays in.
    """
    weights = len(contrast.positive) * pair_weights(contrast, "pca_weighted")
    axis = first_axis(contrast, weights.sqrt()[:, None] * contrast.differences, "pca_weighted")
    return make_direction(contrast, towards_positive(contrast, axis), "pca_weighted")


def pair_weights(contrast: Contrast, method: str = "pair_weights") -> Float[Tensor, " pair"]:
    """softmax of the pairs' mean log-probability per token; they sum to 1.

    A mean over tokens differs by tenths of a nat between pairs of one template, which gives nearly
    even weights; 1 / Σ w² is the number of pairs that they amount to.

    Raises:
        MissingEvidenceError: the contrast has no `log_likelihood`.
    """
    return torch.softmax(needed(contrast, "log_likelihood", method), dim=0)


def first_axis(
    contrast: Contrast, rows: Float[Tensor, "pair axis"], method: str
) -> Float[Tensor, " axis"]:
    """First right singular vector of rows made from the differences, of either sign.

    Raises:
        DegenerateDirectionError: the rows are all zero.
    """
    _, strengths, axes = torch.linalg.svd(rows.double(), full_matrices=False)
    if float(strengths[0]) <= torch.finfo(torch.float32).eps * contrast.relative * len(rows) ** 0.5:
        raise DegenerateDirectionError(
            f"{method} at {contrast.site}: the differences do not vary; give more pairs."
        )
    return axes[0].to(rows.dtype)
