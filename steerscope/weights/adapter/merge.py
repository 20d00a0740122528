"""Write a change of weights into a plain Hugging Face model, which any tool can run."""

from __future__ import annotations

from pathlib import Path

import torch

from steerscope.errors import VectorMismatchError
from steerscope.models.fingerprints import same_weights
from steerscope.models.loading import Original, load_original
from steerscope.weights.adapter.changes import WeightChange


def merge(source: str | Path, change: WeightChange, coefficient: float, out: str | Path) -> Path:
    """A model folder with the weights W + D(c) of a change, and all others as they were.

    The sum is made in float64. Models are loaded here without folding or centring, so that a weight
    of the hooked model is one of the original, turned or cut.

    Args:
        source: the model's bundled name, folder or hub name.
        change: what is changed.
        coefficient: c.
        out: the folder to write.

    Raises:
        ModelLoadError: there is no such model.
        VectorMismatchError: the change belongs to another model.
        UnsupportedWeightError: the architecture keeps a weight where it is not known.
    """
    original = load_original(source)
    apply(original, change, coefficient)
    original.network.save_pretrained(out)
    original.tokenizer.save_pretrained(out)
    return Path(out)


@torch.no_grad()
def apply(original: Original, change: WeightChange, coefficient: float) -> None:
    """Change the weights of an original for good.

    Raises:
        VectorMismatchError: the change belongs to another model.
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
        weight.copy_((weight.double() + delta.dense.double()).to(weight.dtype))
