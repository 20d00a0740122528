"""An edit of weights as a change that can be merged: all of it, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel
from steerscope.weights.changes import Change
from steerscope.weights.places import Place
from steerscope.weights.weight_edit import WeightEdit


@dataclass(frozen=True, eq=False)
class FixedEdit:
    """The change W' - W of an edit; its amount is in the edit, so that a coefficient is 1 or 0.

    Attributes:
        edit: of the spectrum of some weights.
        model: whose weights they are.
    """

    edit: WeightEdit
    model: LensModel

    @property
    def method(self) -> str:
        """The kind of edit."""
        return str(self.edit.labels()["method"])

    @property
    def fingerprint(self) -> str:
        """Of the model."""
        return self.model.fingerprint

    @property
    def matrices(self) -> tuple[Place, ...]:
        """The weights that it changes."""
        return tuple(place for place, _ in self.edit.parts)

    @property
    def n_parameters(self) -> int:
        """None was trained."""
        return 0

    @property
    def seed(self) -> int:
        """Of an edit that draws."""
        return int(self.edit.labels()["seed"])

    def deltas(self, coefficient: float) -> Mapping[Place, Change]:
        """What is added to each weight.

        Raises:
            BadValueError: a coefficient other than 1 and 0.
            UnsupportedWeightError: the model lacks a weight, or undoes the edit.
        """
        if coefficient not in (0, 1):
            raise BadValueError(
                f"an edit is made whole, not by {coefficient:g}; give its amount with its place."
            )
        changes = self.edit.changes(self.model) if coefficient else []
        return {
            place: change
            for place, (_, change) in zip(self.matrices, changes, strict=bool(changes))
        }
