"""Null controls: directions with the dose lengths of a real one and nothing of its meaning."""

from __future__ import annotations

from dataclasses import replace

import torch

from steerscope.directions.direction import Direction, make_direction, needed
from steerscope.errors import DegenerateDirectionError
from steerscope.extraction.activations import Contrast

_DRAWS = 20  # of swapped classes, until one does not cancel out
_CANCELS = 1e-4  # of the mean length of a pair's difference: pairs that are not the same leave a hundredth and more


def random(contrast: Contrast, *, seed: int) -> Direction:
    """A direction drawn evenly from the sphere: what any push of this length does."""
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(contrast.positive.shape[1], generator=generator)
    return make_direction(contrast, vector, "random", seed=seed)


def covariance_matched_random(contrast: Contrast, *, seed: int) -> Direction:
    """A random direction with the covariance of the activations: a push along axes in use.

    unit ∝ Cᵀ g, C the activations about the mean of their class, g standard normal. A direction
    drawn evenly from the sphere lies mostly where the activations never are, which makes it an easy
    control to beat; this one is harder.

    Raises:
        DegenerateDirectionError: fewer than two pairs, or texts of a class that do not vary.
    """
    if len(contrast.positive) < 2:
        raise DegenerateDirectionError("covariance_matched_random needs at least 2 pairs.")
    sides = (contrast.positive, contrast.negative)
    if all((side == side[0]).all() for side in sides):  # about a mean they would be rounding alone
        raise DegenerateDirectionError(
            f"covariance_matched_random at {contrast.site}: the texts of a class do not vary there."
        )
    centred = torch.cat([side - side.mean(dim=0) for side in sides])
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(len(centred), generator=generator)
    vector = centred.T @ draw
    return make_direction(contrast, vector, "covariance_matched_random", seed=seed)


def label_shuffled(contrast: Contrast, *, seed: int) -> Direction:
    """The mean difference after swapping the classes of half of the pairs, drawn at random.

    unit ∝ mean(sᵢ (h₊ᵢ - h₋ᵢ)), sᵢ = ±1 in equal numbers (one more +1 if the number is odd): what
    the same method finds where there is nothing to find. Of pairs that say the same a draw may cancel out
    altogether; then another is drawn.

    Raises:
        DegenerateDirectionError: fewer than two pairs, or pairs of which all draws cancel out.
    """
    n_pairs = len(contrast.positive)
    if n_pairs < 2:
        raise DegenerateDirectionError("label_shuffled needs at least 2 pairs.")
    generator = torch.Generator().manual_seed(seed)
    apart = contrast.differences
    least = _CANCELS * float(apart.norm(dim=1).mean())
    for _ in range(_DRAWS):
        signs = torch.ones(n_pairs)
        signs[torch.randperm(n_pairs, generator=generator)[: n_pairs // 2]] = -1
        vector = (signs[:, None] * apart).mean(dim=0)
        if least == 0 or vector.norm() > least:  # of pairs that do not differ it is said there
            return make_direction(contrast, vector, "label_shuffled", seed=seed)
    raise DegenerateDirectionError(
        f"label_shuffled at {contrast.site}: pairs with classes swapped and others cancel out in each of {_DRAWS} "
        "draws; give pairs that differ in other words."
    )


def other_concept(contrast: Contrast) -> Direction:
    """The mean difference of another concept, with the lengths of this one.

    unit ∝ mean(h₊ - h₋) of the other pairs: what a push of this length does along an axis that
    means something else. Its provenance is that of the other concept.

    Raises:
        MissingEvidenceError: the contrast has no `other`.
        DegenerateDirectionError: the class means of either concept coincide.
    """
    other = needed(contrast, "other", "other_concept")
    found = make_direction(contrast, other.differences.mean(dim=0), "other_concept")
    return replace(found, provenance=other.provenance)
