"""One thing that is not as it was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """What differs, and where.

    Attributes:
        where: the file, and the place in it.
        what: the number or the thing, in words.
        stored: what is there now.
        expected: what it must be by the rows, the seals or the inputs.
    """

    where: str
    what: str
    stored: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} is {self.stored}, expected {self.expected}"
