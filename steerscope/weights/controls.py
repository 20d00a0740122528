"""What an edit must beat: changes of the same size, or at the same KL, that know nothing of the spectrum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from steerscope.errors import UnknownNameError
from steerscope.models.lens_model import LensModel
from steerscope.weights.changes import Change
from steerscope.weights.edits import Edit
from steerscope.weights.kept import Weight
from steerscope.weights.places import Place
from steerscope.weights.weight_edit import WeightEdit

_SAME = 1e-4  # of the length of a change


@dataclass(frozen=True)
class Control:
    """The control of an edit at the same place.

    Attributes:
        kind: a name in `CONTROLS`.
        of: the edit that is controlled.
        seed: of what is random in it.
        scale: factor of its change, 1 for the size of the edit; another where it has another's KL.

    Raises:
        UnknownNameError: no such control.
    """

    kind: str
    of: Edit
    seed: int = 0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in CONTROLS:
            raise UnknownNameError("control", self.kind, CONTROLS)

    @property
    def name(self) -> str:
        """Such as `noise of power`."""
        longer = "" if self.scale == 1 else f" x{self.scale:.4g}"
        return f"{self.kind} of {self.of.name}{longer}"

    @property
    def amount(self) -> float:
        """That of the edit."""
        return self.of.amount

    def change(self, weight: Weight) -> Change:
        """W' - W."""
        found = CONTROLS[self.kind](weight, self.of.change(weight), self)
        if self.scale == 1:
            return found
        return Change(found.left * self.scale, found.right, is_gain=found.is_gain)


def control_of(edit: WeightEdit, kind: str, *, seed: int = 0) -> WeightEdit:
    """The same places under a control of the edit that each has.

    Args:
        edit: what is controlled.
        kind: a name in `CONTROLS`, such as `noise`, a random change of the same norm.
        seed: of what is random in it.

    Raises:
        UnknownNameError: no such control.
    """
    return WeightEdit(tuple((place, Control(kind, part, seed)) for place, part in edit.parts))


def scaled(control: WeightEdit, factor: float) -> WeightEdit:
    """A control with its change longer or shorter by a factor."""
    parts = []
    for place, part in control.parts:
        assert isinstance(part, Control)
        parts.append((place, replace(part, scale=factor)))
    return WeightEdit(tuple(parts))


def same_change(model: LensModel, one: WeightEdit, other: WeightEdit) -> bool:
    """Whether two edits of the same places make the same weights, as a gain and its own control do."""
    for (_, a), (_, b) in zip(one.changes(model), other.changes(model), strict=True):
        first, second = a.dense.double(), b.dense.double()
        if float((first - second).norm()) > _SAME * float(second.norm()):
            return False
    return True


def elsewhere(edit: WeightEdit, place: Place) -> WeightEdit:
    """The edit of a single place at another one."""
    ((_, part),) = edit.parts
    return replace(edit, parts=((place, part),))


def _noise(weight: Weight, change: Change, control: Control) -> Change:
    """Independent normal numbers of the same Frobenius norm as the change."""
    noise = weight.noise(control.seed, *weight.base.shape)
    return Change(noise * (change.norm(weight) / float(noise.norm())))


def _random_change(weight: Weight, change: Change, control: Control) -> Change:
    """A change of the same singular values, so also of the same norm, along random vectors."""
    kept = None if change.spectrum is None else change.spectrum - weight.svd.s
    s = torch.linalg.svdvals(change.dense) if kept is None else kept
    u, vh = weight.random_vectors(control.seed)
    return Change(u, s[:, None] * vh)


def _random_vectors(weight: Weight, change: Change, control: Control) -> Change:
    """A whole matrix of the edited spectrum whose singular vectors are random."""
    s = change.spectrum
    if s is None:
        s = torch.linalg.svdvals(weight.base + change.dense)
    u, vh = weight.random_vectors(control.seed)
    return Change((u * s) @ vh - weight.base)


def _same_norm_gain(weight: Weight, change: Change, control: Control) -> Change:
    """A gain of the same Frobenius norm, down for even seeds and up for odd ones.

    Of a gain one of the two is the edit itself, which is no control; `same_change` tells.
    """
    sign = 1 if control.seed % 2 else -1
    factor = sign * change.norm(weight) / weight.norm
    return Change(factor * weight.base, is_gain=factor != 0)


CONTROLS: dict[str, Callable[[Weight, Change, Control], Change]] = {
    "noise": _noise,
    "random_change": _random_change,
    "random_vectors": _random_vectors,
    "gain": _same_norm_gain,
}
