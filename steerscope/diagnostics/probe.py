"""What a direction from some pairs is worth on other pairs: accuracy, share of the variance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.diagnostics.table import LayerValue, bootstrap_weights, interval
from steerscope.directions import find_direction, mean_diff
from steerscope.extraction.activations import Contrast

_RANDOM = 100  # directions of the null


def probe_accuracy(
    fit: Contrast, held_out: Contrast, *, method: str = "mean_diff", seed: int = 0
) -> LayerValue:
    """Share of held-out texts on the right side of a threshold along a direction.

    The threshold is halfway between the class means of `fit`. The interval resamples held-out
    pairs; the null takes random directions, each with its own threshold and sign from `fit`. The
    value is named after the method, and `probe_accuracy` for the mean difference.
    """
    unit = find_direction(method, fit, seed=seed).unit
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(_RANDOM, len(unit), generator=generator)
    right = _right(fit, held_out, unit[None])[0].double()
    low, high = interval(_share(bootstrap_weights(len(right), seed=seed), right))
    return LayerValue(
        diagnostic="probe_accuracy" if method == "mean_diff" else f"{method}_accuracy",
        layer=fit.site.layer,
        value=float(right.mean()),
        low=low,
        high=high,
        unit="share",
        n=len(right),
        null=float(_right(fit, held_out, drawn).mean()),
    )


def explained_variance(fit: Contrast, held_out: Contrast, *, seed: int = 0) -> LayerValue:
    """Share of the held-out differences' squared length that lies along the mean difference.

    Σ (d·u)² / Σ ||d||², u from `fit` and d from `held_out`. A random direction has 1 / width.
    """
    unit = mean_diff(fit).unit.double()
    differences = held_out.differences.double()
    along, whole = (differences @ unit) ** 2, (differences**2).sum(dim=1)
    weights = bootstrap_weights(len(whole), seed=seed)
    low, high = interval((weights @ along) / (weights @ whole))
    return LayerValue(
        diagnostic="explained_variance",
        layer=fit.site.layer,
        value=float(along.sum() / whole.sum()),
        low=low,
        high=high,
        unit="share",
        n=len(whole),
        null=1 / len(unit),
    )


def _share(
    weights: Float[Tensor, "sample pair"], values: Float[Tensor, " pair"]
) -> Float[Tensor, " sample"]:
    return weights @ values / weights.sum(dim=1)


def _right(
    fit: Contrast, held_out: Contrast, vectors: Float[Tensor, "row d"]
) -> Float[Tensor, "row pair"]:
    """Share of the two texts of each held-out pair that each vector puts on the right side."""
    positive, negative = fit.positive @ vectors.T, fit.negative @ vectors.T
    threshold = (positive.mean(dim=0) + negative.mean(dim=0)) / 2
    sign = torch.sign(positive.mean(dim=0) - negative.mean(dim=0))
    above = ((held_out.positive @ vectors.T - threshold) * sign > 0).float()
    below = ((held_out.negative @ vectors.T - threshold) * sign < 0).float()
    return ((above + below) / 2).T
