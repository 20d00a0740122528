"""The weight vector of a logistic regression that tells the classes apart."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import expit

from steerscope.directions.direction import Direction, make_direction
from steerscope.errors import BadValueError, DegenerateDirectionError
from steerscope.extraction.activations import Contrast

_STRENGTHS = tuple(10 ** np.linspace(2, -4, 13))  # strongest first, so that each fit starts near
_N_FOLDS = 5

Array = np.ndarray


def logistic_probe(contrast: Contrast, *, regularisation: float | None = None) -> Direction:
    """Direction of an L2-regularised logistic regression on the texts of both classes.

    unit ∝ argmin_w min_b mean_j log(1 + exp(-yⱼ (w·xⱼ + b))) + α/2 ||w||²,
    x the activations about their common mean in units of their root mean square length, y = ±1.

    The minimum lies in the span of the activations and is sought there, so few texts of great width
    cost little.

    Args:
        contrast: at least two pairs where the strength is to be chosen.
        regularisation: α > 0; the direction tends to `mean_diff` as it grows. Default
            `cross_validated_regularisation`.

    Raises:
        BadValueError: a strength that is not a positive number.
        DegenerateDirectionError: too few pairs, or class means that coincide.

    Source: Alain & Bengio 2016 (arXiv:1610.01644); as a steering vector in steering-vectors'
    `logistic_aggregator`, whose strength is fixed.
    """
    if regularisation is None:
        regularisation = cross_validated_regularisation(contrast)
    if not (np.isfinite(regularisation) and regularisation > 0):
        raise BadValueError(f"regularisation {regularisation:g} must be a positive number.")
    points, axes, labels = _in_span(contrast)
    weights = _fit(points, labels, regularisation, np.zeros(points.shape[1] + 1))[:-1]
    length = np.linalg.norm(weights)
    vector = torch.from_numpy(axes.T @ (weights / length if length else weights))
    return make_direction(contrast, vector.to(contrast.positive.dtype), "logistic_probe")


def cross_validated_regularisation(contrast: Contrast) -> float:
    """The strength α under which pairs that were left out have the least log loss.

    Five folds, or as many as there are pairs; pair i is in fold i mod 5 with both of its texts, since
    a text whose partner was trained on is not unseen. The best of 13 values between 1e-4 and 100;
    the stronger one where two are equal. Log loss rewards confidence, so where the classes come
    apart cleanly it asks for little regularisation.

    Args:
        contrast: at least two pairs.

    Raises:
        DegenerateDirectionError: fewer than two pairs.
    """
    n_pairs = len(contrast.positive)
    if n_pairs < 2:
        raise DegenerateDirectionError(
            f"logistic_probe at {contrast.site} needs at least 2 pairs to choose its "
            "regularisation; give more pairs or the regularisation."
        )
    points, _, labels = _in_span(contrast)
    folds = np.tile(np.arange(n_pairs) % min(_N_FOLDS, n_pairs), 2)
    losses = np.zeros(len(_STRENGTHS))
    for fold in range(folds.max() + 1):
        weights = np.zeros(points.shape[1] + 1)
        for number, strength in enumerate(_STRENGTHS):
            kept = folds != fold
            weights = _fit(points[kept], labels[kept], strength, weights, tolerance=1e-6)
            margins = points[folds == fold] @ weights[:-1] + weights[-1]
            losses[number] += np.logaddexp(0, -labels[folds == fold] * margins).sum()
    return float(_STRENGTHS[losses.argmin()])


def _in_span(
    contrast: Contrast,
) -> tuple[Float[Array, "sample axis"], Float[Array, "axis d"], Float[Array, " sample"]]:
    """Coordinates of the texts in an orthonormal basis of their span, the basis, the labels."""
    rows = torch.cat([contrast.positive, contrast.negative]).double().numpy()
    rows = rows - rows.mean(axis=0)
    basis, lengths, axes = np.linalg.svd(rows, full_matrices=False)
    points = basis * lengths
    size = np.sqrt((lengths**2).sum() / len(rows))
    if size <= np.finfo(np.float32).eps * contrast.relative:
        raise DegenerateDirectionError(
            f"logistic_probe at {contrast.site}: all texts have the same activation there."
        )
    labels = np.repeat([1.0, -1.0], len(contrast.positive))
    return points / size, axes, labels


def _fit(
    points: Float[Array, "sample axis"],
    labels: Float[Array, " sample"],
    strength: float,
    start: Float[Array, " weight"],
    *,
    tolerance: float = 1e-10,
) -> Float[Array, " weight"]:
    """Weights and, last, the intercept of the regularised regression."""
    options = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 1e-15, "gtol": tolerance, "maxcor": 20}
    given = (points, labels, strength)
    return minimize(_loss, start, given, "L-BFGS-B", jac=True, options=options).x


def _loss(
    weights: Float[Array, " weight"],
    points: Float[Array, "sample axis"],
    labels: Float[Array, " sample"],
    strength: float,
) -> tuple[float, Float[Array, " weight"]]:
    """The regularised loss and its gradient."""
    w, b = weights[:-1], weights[-1]
    margins = labels * (points @ w + b)
    slopes = -labels * expit(-margins) / len(labels)
    value = float(np.logaddexp(0, -margins).mean() + strength / 2 * w @ w)
    return value, np.append(points.T @ slopes + strength * w, slopes.sum())
