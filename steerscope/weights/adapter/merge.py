"""Write a change of weights into a plain Hugging Face model, which any tool can run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BackboneWarning, BadValueError, NotFiniteError, VectorMismatchError
from steerscope.models.fingerprints import same_weights
from steerscope.models.lens_model import LensModel
from steerscope.models.loading import Original, load_model, load_original
from steerscope.models.matrices import weight_matrix
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
    original, hooked = load_original(source), _Hooked(source)
    apply(original, change, coefficient, hooked.numbers)
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


Numbers = Callable[[str, int], Float[Tensor, "d out"]]


class _Hooked:
    """The same model with its weights under common names, loaded if it is asked for one."""

    def __init__(self, source: str | Path) -> None:
        self.source = source

    @cached_property
    def model(self) -> LensModel:
        with warnings.catch_warnings():  # of a model that is only read
            warnings.simplefilter("ignore", BackboneWarning)
            return load_model(str(self.source), device="cpu", dtype="float32", check=False)

    def numbers(self, name: str, layer: int) -> Float[Tensor, "d out"]:
        """A weight matrix."""
        return weight_matrix(self.model, name, layer).read()


@torch.no_grad()
def apply(
    original: Original, change: WeightChange, coefficient: float, numbers: Numbers | None = None
) -> None:
    """Change the weights of an original for good.

    Args:
        original: the model.
        change: what is changed.
        coefficient: c.
        numbers: a weight by name and block, by which it is found in an architecture that is not known.

    Raises:
        VectorMismatchError: the change belongs to another model.
        NotFiniteError: a weight would not be finite.
        UnsupportedWeightError: the architecture keeps a weight where it cannot be found, or has no
            bias where the change has one.
    """
    if not same_weights(change.fingerprint, original.fingerprint):
        raise VectorMismatchError(
            f"this {change.method} belongs to a model {change.fingerprint[:12]}, not to this one "
            f"({original.fingerprint[:12]}); merge it into the model that it was trained on."
        )
    found = change.deltas(coefficient) if coefficient else {}
    places = []
    for m, delta in found.items():
        known = partial(numbers, m.name, m.layer) if numbers else None
        places.append((m, original.held(m.name, m.layer, known), delta))
    for place, held, delta in places:
        weight = held.read()
        changed = (weight.double() + delta.dense.double()).to(weight.dtype)
        if not bool(torch.isfinite(changed).all()):
            raise NotFiniteError(
                f"at coefficient {coefficient:g} a weight is not finite; give a smaller one."
            )
        held.write(changed)
        if delta.bias is not None:
            held.add_bias(delta.bias, f"weight {place}")
