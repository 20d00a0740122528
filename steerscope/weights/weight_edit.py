"""An edit of weights as an intervention: on for a while, for all rows of a batch or for some."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from steerscope.errors import BadValueError, UnsupportedWeightError
from steerscope.extraction.activations import Contrast
from steerscope.models.lens_model import LensModel
from steerscope.sites import Site
from steerscope.steering.interventions import Rows
from steerscope.weights.changes import Change
from steerscope.weights.edits import Edit, find_edit
from steerscope.weights.kept import KeptWeight, kept_weight, replaced
from steerscope.weights.places import Place, parse_places


@dataclass(frozen=True)
class WeightEdit:
    """Other weights for a while: W' in place of W at any number of places.

    Every change is made from the weight as it was loaded, so that edits that are active together at
    one place add up, in any order. For all rows of a batch the numbers themselves are replaced; for
    some rows x (W' - W) is added to the output of the matrix, since one product has one matrix.
    Both come to the same but for rounding.

    Attributes:
        parts: edits with their places.

    Raises:
        BadValueError: no part, or a place twice.
    """

    parts: tuple[tuple[Place, Edit], ...]

    def __post_init__(self) -> None:
        places = [place for place, _ in self.parts]
        if not places:
            raise BadValueError("an edit of weights needs at least one place.")
        if len(set(places)) < len(places):
            raise BadValueError(f"a place comes twice in {self}; give it one edit.")

    @classmethod
    def parse(
        cls, edit: str, places: str, *, contrasts: Mapping[Site, Contrast] | None = None
    ) -> WeightEdit:
        """One kind of edit by its own amount at each of several places.

        Args:
            edit: its name, such as `gain` or `band[0-8]`.
            places: such as `down:15:-0.2,down:16-24:+0.3`.
            contrasts: activations at the outputs of the weights, for edits that look at them.

        Raises:
            UnknownNameError: no such edit or weight.
            BadValueError: places that cannot be read, or an amount that the edit does not take.
        """
        found = parse_places(places)
        return cls(tuple((p, find_edit(edit, a, contrasts=contrasts)) for p, a in found))

    def __str__(self) -> str:
        return ", ".join(f"{edit.name} {place}:{edit.amount:+g}" for place, edit in self.parts)

    def labels(self) -> dict[str, str | float]:
        """The edit in words, and its weight and layer where there is but one; it has no dose."""
        names = {edit.name for _, edit in self.parts}
        weights = {place.name for place, _ in self.parts}
        layers = {place.layer for place, _ in self.parts}
        return {
            "method": names.pop() if len(names) == 1 else "several",
            "stream": weights.pop() if len(weights) == 1 else "several",
            "layer": layers.pop() if len(layers) == 1 else -1,
            "head": -1,
            "operator": "weights",
            "scope": "everywhere",
            "dose_absolute": math.nan,
            "dose_relative": math.nan,
            "dose_natural": math.nan,
            "strength": 1.0,
            "seed": max(edit.seed for _, edit in self.parts),
            "edit": str(self),
        }

    def first_block(self, prompt_length: int) -> int | None:  # noqa: ARG002 - weights act everywhere
        """The first block with another weight."""
        return min(place.layer for place, _ in self.parts)

    @contextmanager
    def attach(self, model: LensModel, rows: Rows | None = None) -> Iterator[None]:
        """Replace the weights, or add their changes to the outputs of some rows.

        Raises:
            UnsupportedWeightError: the model lacks a weight, or undoes the edit.
            SteerscopeError: whatever an edit finds wrong with a weight.
        """
        with ExitStack() as stack:
            for weight, change in self.changes(model):
                if rows is None:
                    stack.enter_context(replaced(weight, change.dense))
                else:
                    stack.enter_context(weight.matrix.adding(_for_rows(change, rows)))
            yield

    def changes(self, model: LensModel) -> list[tuple[KeptWeight, Change]]:
        """What each part does to its weight.

        Raises:
            UnsupportedWeightError: the model lacks a weight, or a norm divides out the only factor.
        """
        found = []
        for place, edit in self.parts:
            weight = kept_weight(model, place)
            change = edit.change(weight)
            if change.is_gain and weight.matrix.gain_cancels:
                raise UnsupportedWeightError(
                    f"{edit.name} {edit.amount:+g} multiplies {place} by one number, which the norm "
                    f"behind it in {model.name} divides out again; use an edit that changes the "
                    "spectrum, or another weight."
                )
            found.append((weight, change))
        return found


def _for_rows(
    change: Change, rows: Rows
) -> Callable[[Tensor], tuple[Int[Tensor, " row"], Tensor] | None]:
    def addition(x: Tensor) -> tuple[Int[Tensor, " row"], Tensor] | None:
        return (rows.index, change.of(x[rows.index])) if len(rows.index) else None

    return addition
