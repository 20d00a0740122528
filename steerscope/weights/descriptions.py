"""What an edit does to a weight in numbers, and a warning where it changes no spectrum."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.eigengaps.spectrum import spectral_entropy
from steerscope.errors import PureGainWarning
from steerscope.models.lens_model import LensModel
from steerscope.weights.changes import Change
from steerscope.weights.kept import Weight
from steerscope.weights.weight_edit import WeightEdit


@dataclass(frozen=True)
class Spectrum:
    """Numbers of one spectrum.

    Attributes:
        stable_rank: ||W||²_F / σ₁².
        condition: σ₁ over the smallest singular value; infinite where that is 0.
        entropy: -Σ p log p with p = σ² / Σσ², in nats.
    """

    stable_rank: float
    condition: float
    entropy: float


@dataclass(frozen=True)
class EditDescription:
    """What an edit does at one place.

    Attributes:
        place: such as `down.15`.
        edit: its name.
        amount: its amount.
        relative_change: ||W' - W||_F / ||W||_F.
        cosine: <W', W> / (||W'|| ||W||); NaN if W' is zero.
        pure_gain: whether W' is W times a number.
        before: the spectrum of W.
        after: the spectrum of W'.
    """

    place: str
    edit: str
    amount: float
    relative_change: float
    cosine: float
    pure_gain: bool
    before: Spectrum
    after: Spectrum


def describe_edit(model: LensModel, edit: WeightEdit) -> list[EditDescription]:
    """What an edit does, place by place: its size, and the spectrum before and after.

    Args:
        model: whose weights; they stay as they are.
        edit: what would be done to them.

    Warns:
        PureGainWarning: at some place it multiplies the whole matrix by one number.

    Raises:
        SteerscopeError: as in `WeightEdit.changes`.
    """
    found = []
    for (place, part), (weight, change) in zip(edit.parts, edit.changes(model), strict=True):
        after, cosine = _edited(weight, change)
        relative = change.norm(weight) / weight.norm
        found.append(
            EditDescription(
                str(place),
                part.name,
                part.amount,
                relative,
                cosine,
                change.is_gain,
                spectrum_of(weight.svd.s),
                spectrum_of(after),
            )
        )
    gains = [d for d in found if d.pure_gain]
    if gains:
        warnings.warn(
            f"{gains[0].edit} {gains[0].amount:+g} at {', '.join(d.place for d in gains)} multiplies "
            "the whole matrix by one number (cosine 1): it changes no spectrum and is the same as "
            "scaling what the matrix writes.",
            PureGainWarning,
            stacklevel=2,
        )
    return found


def spectrum_of(s: Float[Tensor, " value"]) -> Spectrum:
    """Numbers of singular values, in any order and of any sign."""
    squares = s.double() ** 2
    largest, smallest = float(squares.max()), float(squares.min())
    if not largest:
        return Spectrum(0.0, math.inf, 0.0)
    return Spectrum(
        float(squares.sum()) / largest,
        math.sqrt(largest / smallest) if smallest else math.inf,
        float(spectral_entropy(squares)),
    )


def _edited(weight: Weight, change: Change) -> tuple[Float[Tensor, " value"], float]:
    """Singular values of W' and its cosine with W."""
    s = weight.svd.s.double()
    if change.spectrum is not None:
        after = change.spectrum.double()
        product, norm = float(after @ s), float(after.norm())
        return change.spectrum, product / (norm * float(s.norm())) if norm else math.nan
    edited = (weight.base + change.dense).double()
    norm = float(edited.norm())
    product = float((edited * weight.base.double()).sum())
    return torch.linalg.svdvals(edited).float(), (
        product / (norm * weight.norm) if norm else math.nan
    )
