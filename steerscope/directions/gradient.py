"""Directions along which a preference loss falls: mean gradient, natural gradients, gradient axis.

All work on the descents a = -∂L/∂h of `Gradients.descents`: one row per text, signed so that every
row says where the direction should point, also where the loss has the two texts of a pair move
apart. The mean of the bare gradients of both classes cancels for such a loss; that of the descents
does not. All are signed so that the loss falls along them: mean(a)·v >= 0.

A natural gradient divides the mean descent by the Fisher information F of the rows, damped:
v = (F + λI)⁻¹ ā. It is solved among the n rows, never in d x d. It pays where the noise of the
gradients is loud in a few directions; where it is even, the mean gradient is the better estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions.direction import Direction, make_direction, needed
from steerscope.errors import BadValueError, DegenerateDirectionError
from steerscope.extraction.activations import Contrast, Gradients

# In units of the mean eigenvalue of the Fisher information. With fewer rows than dimensions less of
# it trusts what a few rows say of most directions; much more of it gives back the mean gradient.
DAMPING = 1.0


def gradient_mean(contrast: Contrast) -> Direction:
    """Direction of steepest descent of the mean loss.

    unit ∝ mean(a₊) + mean(a₋)

    Raises:
        MissingEvidenceError: the contrast has no gradients.
        DegenerateDirectionError: the descents cancel.
    """
    return _direction(contrast, _rows(contrast, "gradient_mean").mean(dim=0), "gradient_mean")


def gradient_svd(contrast: Contrast) -> Direction:
    """Axis along which the gradients of all texts, positive and negative, vary most.

    unit = first right singular vector of G - Ḡ, with G the bare gradients of both classes, signed
    so that the mean loss falls along it. Where the two classes have opposite gradients, this is the
    axis between them; where they agree, centring takes what they share out.

    Raises:
        MissingEvidenceError: the contrast has no gradients.
        DegenerateDirectionError: the gradients do not vary, or the mean loss is level along the axis.

    Source: method "svd_steer" of a published journal as it was meant; as it ran it was its
    "pca_diff", since no such name was dispatched. The sign is ours.
    """
    gradients = _gradients(contrast, "gradient_svd")
    bare = torch.cat([gradients.positive, gradients.negative]).double()
    _, strengths, axes = torch.linalg.svd(bare - bare.mean(dim=0), full_matrices=False)
    largest = float(bare.norm(dim=1).max())
    if float(strengths[0]) <= torch.finfo(torch.float32).eps * largest * len(bare) ** 0.5:
        raise DegenerateDirectionError(
            f"gradient_svd at {contrast.site}: the gradients do not vary; give more pairs."
        )
    slope = float(_rows(contrast, "gradient_svd").mean(dim=0) @ axes[0])
    if abs(slope) <= torch.finfo(torch.float32).eps * largest:
        raise DegenerateDirectionError(
            f"gradient_svd at {contrast.site}: the mean loss is level along the axis, so that it "
            "has no sign; use gradient_mean."
        )
    return _direction(contrast, axes[0] * math.copysign(1.0, slope), "gradient_svd")


def fisher_empirical(contrast: Contrast, *, damping: float = DAMPING) -> Direction:
    """Natural gradient with the empirical Fisher information, F = 1/n Σᵢ aᵢ aᵢᵀ.

    Args:
        contrast: with gradients.
        damping: λ in units of the mean eigenvalue of F, λ = damping · tr F / d; > 0.

    Raises:
        MissingEvidenceError: the contrast has no gradients.
        BadValueError: damping is not a positive number.
        DegenerateDirectionError: the damped system is singular in float64.

    Source: method "fisher_steer_emp" of the same journal, with relative damping and signed rows.
    """
    rows = _rows(contrast, "fisher_empirical")
    return _direction(contrast, _solved(rows, damping), "fisher_empirical")


def fisher_ief(contrast: Contrast, *, damping: float = DAMPING) -> Direction:
    """Natural gradient with the improved empirical Fisher, F = 1/n Σᵢ aᵢ aᵢᵀ / sᵢ².

    sᵢ is the norm of text i's gradient at the model's output. Without damping the plain empirical
    Fisher promises every text the same fall of its loss, however little it has left to fall; this
    one promises sᵢ². With equal sᵢ it is `fisher_empirical`.

    Args:
        contrast: with gradients.
        damping: λ in units of the mean eigenvalue of F; > 0.

    Raises:
        MissingEvidenceError: the contrast has no gradients.
        BadValueError: damping is not a positive number.
        DegenerateDirectionError: a text without gradient at the output, or a singular system.

    Source: Wu et al. 2024 (arXiv:2406.06420), for activations in place of parameters.
    """
    rows = _rows(contrast, "fisher_ief")
    gradients = _gradients(contrast, "fisher_ief")
    squares = gradients.output_norm.T.flatten().double().square()
    if not bool((squares > 0).all()):
        raise DegenerateDirectionError(
            f"fisher_ief at {contrast.site}: the loss {gradients.loss} has no gradient at "
            "the output of some text, so that its weight is infinite; use fisher_empirical."
        )
    return _direction(contrast, _solved(rows, damping, squares), "fisher_ief")


def fisher_covariance(contrast: Contrast, *, damping: float = DAMPING) -> Direction:
    """Natural gradient with the covariance of the descents, F = 1/(n-1) Σᵢ (aᵢ - ā)(aᵢ - ā)ᵀ.

    By Sherman and Morrison this is `fisher_empirical` at the absolute damping λ (n-1)/n, and only
    its length differs; it is solved as such. Its F holds the spread without the mean, so that the
    same relative damping is less here where the descents agree.

    Args:
        contrast: with gradients.
        damping: λ in units of the mean eigenvalue of F; > 0.

    Raises:
        MissingEvidenceError: the contrast has no gradients.
        BadValueError: damping is not a positive number.
        DegenerateDirectionError: the descents do not vary, or the system is singular.

    Source: method "fisher_steer_cov" of the same journal.
    """
    rows = _rows(contrast, "fisher_covariance")
    n = len(rows)
    trace = float((rows - rows.mean(dim=0)).square().sum()) / (n - 1)
    ridge = _checked(damping) * trace / rows.shape[1]
    return _direction(
        contrast, natural_gradient(rows, ridge=ridge * (n - 1) / n), "fisher_covariance"
    )


def fisher_positive(contrast: Contrast, *, damping: float = DAMPING) -> Direction:
    """`fisher_empirical` of the positive texts alone, and signed by them.

    Raises:
        MissingEvidenceError: the contrast has no gradients.
        BadValueError: damping is not a positive number.
        DegenerateDirectionError: the damped system is singular in float64.
    """
    return _one_sided(contrast, (0,), damping, "fisher_positive")


def fisher_negative(contrast: Contrast, *, damping: float = DAMPING) -> Direction:
    """`fisher_empirical` of the negative texts alone, still pointing to the positive class.

    Raises:
        MissingEvidenceError: the contrast has no gradients.
        BadValueError: damping is not a positive number.
        DegenerateDirectionError: the damped system is singular in float64.
    """
    return _one_sided(contrast, (1,), damping, "fisher_negative")


def fisher_difference(contrast: Contrast, *, damping: float = DAMPING) -> Direction:
    """Sum of the two one-sided natural gradients, each signed towards the positive class.

    v = (F₊ + λ₊I)⁻¹ ā₊ + (F₋ + λ₋I)⁻¹ ā₋, which for a loss that moves texts apart is the
    difference of the natural gradients of negatives and positives.

    Raises:
        MissingEvidenceError: the contrast has no gradients.
        BadValueError: damping is not a positive number.
        DegenerateDirectionError: a damped system is singular in float64, or the two cancel.

    Source: method "fisher_steer_dual_diff" of the same journal, downhill where theirs is uphill.
    """
    return _one_sided(contrast, (0, 1), damping, "fisher_difference")


def natural_gradient(
    rows: Float[Tensor, "row d"],
    *,
    ridge: float,
    squares: Float[Tensor, " row"] | None = None,
) -> Float[Tensor, " d"]:
    """(F + λI)⁻¹ ā with F = 1/n Σᵢ aᵢ aᵢᵀ / sᵢ², by a solve among the rows.

    v = Aᵀ (A Aᵀ + n λ diag(s²))⁻¹ s², from (F + λI)⁻¹ Aᵀ = Aᵀ (A Aᵀ + ...)⁻¹; in float64. As λ → 0,
    A v → s².

    Args:
        rows: A, one descent per text.
        ridge: λ, in squared gradient units (over s²); > 0.
        squares: s²; default all 1.

    Raises:
        DegenerateDirectionError: the system is singular in float64.
    """
    rows = rows.double()
    s2 = torch.ones(len(rows), dtype=rows.dtype) if squares is None else squares.double()
    # Scaled by s on both sides, the damping is the same for all rows and the system symmetric.
    scaled = rows / s2.sqrt()[:, None]
    system = scaled @ scaled.T
    system.diagonal().add_(len(rows) * ridge)
    values, vectors = torch.linalg.eigh(system)
    if float(values[0]) <= len(rows) * torch.finfo(rows.dtype).eps * float(values[-1]):
        raise DegenerateDirectionError(
            f"the natural gradient of {len(rows)} rows in {rows.shape[1]} dimensions is singular at "
            f"a ridge of {ridge:.3g}; raise the damping."
        )
    return scaled.T @ (vectors @ ((vectors.T @ s2.sqrt()) / values))


def _solved(
    rows: Float[Tensor, "row d"], damping: float, squares: Float[Tensor, " row"] | None = None
) -> Float[Tensor, " d"]:
    """Natural gradient with damping in units of the mean eigenvalue of its Fisher information."""
    weighted = rows.square().sum(dim=1) / (1.0 if squares is None else squares)
    ridge = _checked(damping) * float(weighted.mean()) / rows.shape[1]
    return natural_gradient(rows, ridge=ridge, squares=squares)


def _one_sided(contrast: Contrast, sides: Sequence[int], damping: float, method: str) -> Direction:
    parts = [_solved(_rows(contrast, method, (side,)), damping) for side in sides]
    return _direction(contrast, torch.stack(parts).sum(dim=0), method)


def _checked(damping: float) -> float:
    if not (math.isfinite(damping) and damping > 0):
        raise BadValueError(
            f"damping {damping} is not a positive number; give the share of the mean eigenvalue "
            f"that is added, such as {DAMPING}."
        )
    return damping


def _gradients(contrast: Contrast, method: str) -> Gradients:
    return needed(contrast, "gradients", method)


def _rows(contrast: Contrast, method: str, sides: Sequence[int] = (0, 1)) -> Float[Tensor, "row d"]:
    """Descents of all positive (side 0), then of all negative texts (side 1), in float64."""
    descents = _gradients(contrast, method).descents
    rows = torch.cat([descents[side] for side in sides]).double()
    length, largest = float(rows.mean(dim=0).norm()), float(rows.norm(dim=1).max())
    if length <= torch.finfo(torch.float32).eps * largest:
        raise DegenerateDirectionError(
            f"{method} at {contrast.site}: the gradients cancel or are zero, so that the mean loss "
            "is level; give more pairs, or take another loss or site."
        )
    return rows


def _direction(contrast: Contrast, vector: Float[Tensor, " d"], method: str) -> Direction:
    """The direction of a vector in gradient units, whose length means nothing to activations."""
    unit = vector / vector.norm()
    return make_direction(contrast, unit.to(contrast.positive.dtype), method)
