"""Write a change of weights into a plain Hugging Face model, which any tool can run."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from steerscope.errors import BadValueError, NotFiniteError, VectorMismatchError
from steerscope.models.fingerprints import same_weights
from steerscope.models.loading import Original, load_original
from steerscope.runs.outputs import check_folder, marked, write_mark
from steerscope.runs.whole_files import whole_folder
from steerscope.weights.adapter.changes import WeightChange

_WHAT = "a model with merged weights"


def merge(source: str | Path, change: WeightChange, coefficient: float, out: str | Path) -> Path:
    """A model folder with the weights W + D(c) of a change, and all others as they were.

    The sum is made in float64. Models are loaded here without folding or centring, so that a weight
    of the hooked model is one of the original, turned or cut.

    Args:
        source: the model's bundled name, folder or hub name.
        change: what is changed.
        coefficient: c.
        out: the folder to write, whole or not at all; one that was written so is replaced.

    Raises:
        OutputError: `out` is the model itself, a file, or a folder of something else.
        BadValueError: the coefficient is not finite.
        NotFiniteError: a weight would not be finite.
        ModelLoadError: there is no such model.
        VectorMismatchError: the change belongs to another model.
        UnsupportedWeightError: the architecture keeps a weight where it is not known.
    """
    out = check_merge(source, out, coefficient)
    original = load_original(source)
    apply(original, change, coefficient)
    with whole_folder(out) as unfinished:
        original.network.save_pretrained(unfinished)
        original.tokenizer.save_pretrained(unfinished)
        write_mark(unfinished, _WHAT)
    return out


def check_merge(source: str | Path, out: str | Path, coefficient: float) -> Path:
    """Refuse a merge that must not be, before a model is loaded for it; the folder to write.

    Raises:
        OutputError: `out` is the model itself, a file, or a folder of something else.
        BadValueError: the coefficient is not finite.
    """
    if not math.isfinite(coefficient):
        raise BadValueError(f"coefficient {coefficient}; give a finite number.")
    return check_folder(out, own=marked(_WHAT), inputs=[source])


@torch.no_grad()
def apply(original: Original, change: WeightChange, coefficient: float) -> None:
    """Change the weights of an original for good.

    Raises:
        VectorMismatchError: the change belongs to another model.
        NotFiniteError: a weight would not be finite.
        UnsupportedWeightError: the architecture keeps a weight where it is not known.
    """
    if not same_weights(change.fingerprint, original.fingerprint):
        raise VectorMismatchError(
            f"this {change.method} belongs to a model {change.fingerprint[:12]}, not to this one "
            f"({original.fingerprint[:12]}); merge it into the model that it was trained on."
        )
    found = change.deltas(coefficient) if coefficient else {}
    places = [(original.weight(m.name, m.layer), delta) for m, delta in found.items()]
    for weight, delta in places:
        changed = (weight.double() + delta.dense.double()).to(weight.dtype)
        if not bool(torch.isfinite(changed).all()):
            raise NotFiniteError(
                f"at coefficient {coefficient:g} a weight is not finite; give a smaller one."
            )
        weight.copy_(changed)
