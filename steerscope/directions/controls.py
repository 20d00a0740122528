"""Null controls: directions with the dose lengths of a real one and nothing of its meaning."""

from __future__ import annotations

import torch

from steerscope.activations import Contrast
from steerscope.directions.direction import Direction, make_direction
from steerscope.errors import DegenerateDirectionError


def random(contrast: Contrast, *, seed: int) -> Direction:
    """A direction drawn evenly from the sphere: what any push of this length does."""
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(contrast.positive.shape[1], generator=generator)
    return make_direction(contrast, vector, "random", seed=seed)


def label_shuffled(contrast: Contrast, *, seed: int) -> Direction:
    """The mean difference after swapping the classes of half of the pairs, drawn at random.

    unit ∝ mean(sᵢ (h₊ᵢ - h₋ᵢ)), sᵢ = ±1 in equal numbers (one more +1 if the number is odd): what
    the same method finds where there is nothing to find.

    Raises:
        DegenerateDirectionError: fewer than two pairs.
    """
    n_pairs = len(contrast.positive)
    if n_pairs < 2:
        raise DegenerateDirectionError("label_shuffled needs at least 2 pairs.")
    generator = torch.Generator().manual_seed(seed)
    signs = torch.ones(n_pairs)
    signs[torch.randperm(n_pairs, generator=generator)[: n_pairs // 2]] = -1
    vector = (signs[:, None] * contrast.differences).mean(dim=0)
    return make_direction(contrast, vector, "label_shuffled", seed=seed)
