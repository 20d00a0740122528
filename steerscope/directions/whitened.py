"""Fisher's linear discriminant, with a covariance that few pairs can bear."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from steerscope.directions.direction import Direction, make_direction
from steerscope.errors import BadValueError, DegenerateDirectionError
from steerscope.extraction.activations import Contrast

# Below a ten-thousandth the shrunk covariance of few pairs is singular to working precision.
_SHRINKAGES = np.logspace(-4, 0, 41)

Array = np.ndarray


def whitened(contrast: Contrast, *, shrinkage: float | None = None) -> Direction:
    """Direction that separates the classes best once their shared covariance is divided out.

    unit ∝ ((1 - λ) Σ + λ tr(Σ)/d I)⁻¹ (mean(h₊) - mean(h₋)), Σ the pooled within-class covariance.

    Σ is that of the classes and not that of the differences: a text that is steered or read has no
    partner, so what its class spreads over is the noise that counts, also where the pairs share it.
    With n < d the inverse is taken in the span of the activations, never as a d x d matrix. Where
    the concept itself lies along a noisy axis this is the direction that tells the classes apart,
    not the one in which they differ; `mean_diff` is the latter.

    Args:
        contrast: at least two pairs, three where the shrinkage is to be chosen.
        shrinkage: λ, above 0 and at most 1, where this is `mean_diff`; default
            `leave_one_out_shrinkage`.

    Raises:
        BadValueError: a shrinkage outside its range.
        DegenerateDirectionError: too few pairs, texts of a class that do not vary, or class means
            that coincide.

    Source: Fisher 1936; Marks & Tegmark 2023 (arXiv:2310.06824), the "iid" mass-mean probe, with
    shrinkage.
    """
    if shrinkage is None:
        shrinkage = leave_one_out_shrinkage(contrast)
    if not 0 < shrinkage <= 1:
        raise BadValueError(f"shrinkage {shrinkage:g} must lie above 0 and be at most 1.")
    rows = _within_class(contrast, n_least=2)
    _, lengths, axes = np.linalg.svd(rows, full_matrices=False)
    # The number of texts divides all of Σ and so does not change the direction.
    floor = shrinkage * (lengths**2).sum() / rows.shape[1]
    spread = (1 - shrinkage) * lengths**2 + floor
    difference = contrast.differences.double().mean(dim=0).numpy()
    within = axes @ difference
    vector = axes.T @ (within / spread) + (difference - axes.T @ within) / floor
    # The length means nothing; relative to the variance it does not depend on the units.
    vector = torch.from_numpy(vector * spread.mean())
    return make_direction(contrast, vector.to(contrast.positive.dtype), "whitened")


def leave_one_out_shrinkage(contrast: Contrast) -> float:
    """The shrinkage λ under which pairs that were left out are likeliest.

    λ = argmax Σᵢ log N(h₊ᵢ; μ₊, Σ_λ) + log N(h₋ᵢ; μ₋, Σ_λ), means and covariance from all pairs but
    i. Both texts of a pair are left out together, since they share more than their class. Leaving a
    pair out changes the scatter by f (z₊z₊ᵀ + z₋z₋ᵀ), f = n/(n - 1), z the rows about their class
    mean, so each term follows from a 2 x 2 system in the basis of the whole scatter, exactly.

    Args:
        contrast: at least three pairs.

    Raises:
        DegenerateDirectionError: fewer than three pairs, or texts that do not vary.

    Source: Hoffbeck & Landgrebe 1996, "LOOC", and Theiler 2012, with pairs left out instead of
    single samples, and exactly instead of with the target held fixed; the best of 41 values between
    1e-4 and 1, evenly spaced in the logarithm.
    """
    rows = _within_class(contrast, n_least=3)
    n, d = len(rows) // 2, rows.shape[1]
    basis, lengths, _ = np.linalg.svd(rows, full_matrices=False)
    scatter = lengths**2
    pairs = (basis * lengths).reshape(2, n, -1).swapaxes(0, 1)  # pair, class, axis
    traces = (scatter.sum() - n / (n - 1) * (pairs**2).sum(axis=(1, 2))) / (2 * n - 4)
    if traces.min() <= np.finfo(np.float32).eps ** 2 * scatter.sum():
        raise DegenerateDirectionError(
            f"whitened at {contrast.site}: without one of the pairs nothing varies within the "
            "classes; give more pairs."
        )
    scores = [_left_out_likelihood(pairs, scatter, traces, float(x), d) for x in _SHRINKAGES]
    return float(_SHRINKAGES[np.argmax(scores)])


def _left_out_likelihood(
    pairs: Float[Array, "pair class axis"],
    scatter: Float[Array, " axis"],
    traces: Float[Array, " pair"],
    shrinkage: float,
    d: int,
) -> float:
    """Log-likelihood of the pairs, each under the covariance of the others, up to a constant.

    Σ_λ without pair i is A - a f ZᵀZ, A = a scatter + b I diagonal and Z the two rows of the pair.
    """
    n, _, n_axes = pairs.shape
    factor, weight = n / (n - 1), (1 - shrinkage) / (2 * n - 4)
    floor = shrinkage * traces / d
    diagonal = weight * scatter + floor[:, None]
    gram = (pairs / diagonal[:, None]) @ pairs.swapaxes(1, 2)
    removed = np.eye(2) - weight * factor * gram
    log_determinant = (
        np.log(diagonal).sum(axis=1) + (d - n_axes) * np.log(floor) + np.linalg.slogdet(removed)[1]
    )
    distances = np.linalg.solve(removed, gram).trace(axis1=1, axis2=2)
    return float(-(log_determinant + factor**2 * distances / 2).sum())


def _within_class(contrast: Contrast, *, n_least: int) -> Float[Array, "sample d"]:
    """Activations about the mean of their class, the positive class first, in float64."""
    n_pairs = len(contrast.positive)
    if n_pairs < n_least:
        raise DegenerateDirectionError(
            f"whitened at {contrast.site} needs at least {n_least} pairs, got {n_pairs}."
        )
    sides = (contrast.positive.double().numpy(), contrast.negative.double().numpy())
    rows = np.concatenate([side - side.mean(axis=0) for side in sides])
    if np.linalg.norm(rows) <= np.finfo(np.float32).eps * contrast.relative * n_pairs**0.5:
        raise DegenerateDirectionError(
            f"whitened at {contrast.site}: the texts of a class do not vary; give other pairs."
        )
    return rows
