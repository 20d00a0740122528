"""What every edit of a weight is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from steerscope.weights.changes import Change
from steerscope.weights.kept import Weight


@runtime_checkable
class Edit(Protocol):
    """A rule that makes another matrix of the same shape out of a weight."""

    @property
    def name(self) -> str:
        """Its name with its options, such as `band[0-8]`."""
        ...

    @property
    def amount(self) -> float:
        """How much; 0 changes nothing."""
        ...

    @property
    def seed(self) -> int:
        """Of what is random in it; -1 for nothing."""
        ...

    def change(self, weight: Weight) -> Change:
        """W' - W."""
        ...
