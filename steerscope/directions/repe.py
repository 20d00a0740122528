"""The reading vector of representation engineering."""

from __future__ import annotations

import torch

from steerscope.directions.direction import Direction, make_direction, towards_positive
from steerscope.directions.pca import first_axis
from steerscope.errors import DegenerateDirectionError
from steerscope.extraction.activations import Contrast


def repe(contrast: Contrast, *, seed: int = 0) -> Direction:
    """First principal axis of the differences of pairs whose order is tossed for, signed by a vote.

    unit = argmax_u Σᵢ ((sᵢdᵢ - mean(s d))·u)², sᵢ = ±1 by a fair coin, then the sign for which the
    positive text is ahead in more pairs than it is behind.

    It differs from `pca_uncentred` in three ways. The coins make the mean of the rows small but not
    zero, so centring takes a random part of the concept out; the sign counts pairs and ignores by
    how much they differ; and another seed gives another vector. With few pairs the coins may all
    fall the same way, and then this is `pca_centred`.

    Args:
        contrast: at least two pairs.
        seed: of the coins.

    Raises:
        DegenerateDirectionError: fewer than two pairs, or nothing is left after centring.

    Source: Zou et al. 2023 (arXiv:2310.01405), linear artificial tomography with "pca"; a tied vote,
    which there is positive, goes to the mean projection, so that swapping the classes still negates.
    """
    n_pairs = len(contrast.positive)
    if n_pairs < 2:
        raise DegenerateDirectionError(f"repe at {contrast.site} needs at least 2 pairs.")
    coins = torch.randint(2, (n_pairs, 1), generator=torch.Generator().manual_seed(seed))
    rows = (2 * coins - 1) * contrast.differences
    axis = first_axis(contrast, rows - rows.mean(dim=0), "repe")
    votes = float((contrast.differences @ axis).sign().sum())
    signed = towards_positive(contrast, axis) if votes == 0 else axis * (1 if votes > 0 else -1)
    return make_direction(contrast, signed, "repe", seed=seed)
