"""How far, how clearly and how consistently the two classes of a contrast lie apart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.diagnostics.table import LayerValue, bootstrap_weights, interval
from steerscope.directions.stability import split_half
from steerscope.errors import DegenerateDirectionError
from steerscope.extraction.activations import Contrast

_FLIPS = 200
_Weights = Float[Tensor, "sample pair"]


def separation(contrast: Contrast, *, seed: int = 0) -> LayerValue:
    """||mean difference|| in relative units: natural over relative length.

    The mean of n noisy differences is longer than what lies behind them, by tr Σ / n on the square. The value has that
    length in it, as the null and the interval have, which says where it lies for as many other pairs. The
    interval resamples pairs, see `squared_length`; the null swaps the classes of each pair at random.
    """

    def length(gram: Float[Tensor, "pair other"], weights: _Weights) -> Float[Tensor, " sample"]:
        return squared_length(gram, weights).sqrt() / contrast.relative

    return _measured("separation", "relative units", contrast, length, seed)


def signal_to_noise(contrast: Contrast, *, seed: int = 0) -> LayerValue:
    """||mean difference|| over the root mean square distance of the differences from their mean.

    The interval and the null are as those of `separation`.
    """

    def ratio(gram: Float[Tensor, "pair other"], weights: _Weights) -> Float[Tensor, " sample"]:
        n = weights.abs().sum(dim=1)
        signal = squared_length(gram, weights)
        noise = weights.abs() @ gram.diagonal() / n - signal
        return (signal / noise.clamp_min(1e-12 * gram.diagonal().mean())).sqrt()

    return _measured("signal_to_noise", "ratio", contrast, ratio, seed)


def pair_stability(contrast: Contrast, *, seed: int = 0) -> LayerValue:
    """Mean cosine between the differences of two different pairs."""

    def cosine(gram: Float[Tensor, "pair other"], weights: _Weights) -> Float[Tensor, " sample"]:
        lengths = gram.diagonal().sqrt().clamp_min(1e-12)
        return _between_pairs(gram / lengths[:, None] / lengths[None, :], weights)

    return _measured("pair_stability", "cosine", contrast, cosine, seed)


def half_agreement(contrast: Contrast, *, seed: int = 0) -> LayerValue:
    """Mean cosine between the mean differences of two random halves of the pairs.

    The interval is over the splits. The null is 0: with the classes of each pair swapped at random,
    a cosine and its negative are equally likely.
    """
    found = split_half(contrast, "mean_diff", seed=seed)
    layer = contrast.site.layer
    return LayerValue(
        "half_agreement", layer, found.value, found.low, found.high, "cosine", found.n, null=0.0
    )


def squared_length(
    gram: Float[Tensor, "pair other"], weights: Float[Tensor, "sample pair"]
) -> Float[Tensor, " sample"]:
    """||d̄||² of n differences for every row of weights, from their inner products.

    ((n - 1) a + b) / n, with a the mean inner product of two different pairs and b the mean square, which for
    weights of ±1 is ||Σ w d||² / n². A pair that is drawn twice is not compared with itself, which would add tr Σ / n
    once more than the sample has it: draws would all be longer than the sample. It is cut at 0.
    """
    n = weights.abs().sum(dim=1)
    square = weights.abs() @ gram.diagonal() / n
    return (((n - 1) * _between_pairs(gram, weights) + square) / n).clamp_min(0)


def _between_pairs(
    gram: Float[Tensor, "pair other"], weights: _Weights
) -> Float[Tensor, " sample"]:
    """Mean inner product of two different pairs for every row of weights."""
    squares = weights**2
    products = ((weights @ gram) * weights).sum(dim=1) - squares @ gram.diagonal()
    return products / (weights.abs().sum(dim=1) ** 2 - squares.sum(dim=1))


def _measured(
    name: str,
    unit: str,
    contrast: Contrast,
    statistic: Callable[[Tensor, Tensor], Tensor],
    seed: int,
) -> LayerValue:
    """A statistic of the inner products of the differences; negative weights swap the classes."""
    differences = contrast.differences.double()
    n_pairs = len(differences)
    if n_pairs < 2 or not bool(differences.any()):
        raise DegenerateDirectionError(
            f"{name} at {contrast.site} needs at least 2 pairs that differ there."
        )
    gram = differences @ differences.T
    once = torch.ones(1, n_pairs, dtype=torch.float64)
    weights = bootstrap_weights(n_pairs, seed=seed)
    weights = weights[(weights > 0).sum(dim=1) > 1]  # a single pair has no second one to compare
    low, high = interval(statistic(gram, weights))
    generator = torch.Generator().manual_seed(seed + 1)
    flips = torch.randint(2, (_FLIPS, n_pairs), generator=generator).double() * 2 - 1
    return LayerValue(
        diagnostic=name,
        layer=contrast.site.layer,
        value=float(statistic(gram, once)),
        low=low,
        high=high,
        unit=unit,
        n=n_pairs,
        null=float(statistic(gram, flips).mean()),
    )
