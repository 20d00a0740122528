"""The difference of the class means."""

from __future__ import annotations

from steerscope.directions.direction import Direction, make_direction
from steerscope.extraction.activations import Contrast, Moments


def mean_diff(contrast: Contrast | Moments) -> Direction:
    """Direction from the mean of the negative to the mean of the positive class.

    unit ∝ mean(h₊) - mean(h₋)

    Raises:
        DegenerateDirectionError: the class means coincide.

    Source: Rimsky et al. 2023 (arXiv:2312.06681), contrastive activation addition.
    """
    return make_direction(contrast, contrast.mean_difference, "mean_diff")
