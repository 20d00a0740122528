"""Names of weight matrices: which of them, in which block."""

from __future__ import annotations

import re
from dataclasses import dataclass

from steerscope.backbones.products import MATRICES
from steerscope.errors import BadValueError, UnknownNameError

_PATTERN = re.compile(r"(?P<name>[a-z]+)\.(?P<layer>\d+)")


@dataclass(frozen=True, order=True)
class Matrix:
    """One weight matrix of a block, 0-based, as `y = x W`.

    Attributes:
        name: `q`, `k`, `v`, `o` of the attention, `gate`, `up`, `down` of the MLP.
        layer: the block.

    Raises:
        UnknownNameError: no such name.
        BadValueError: a negative layer.
    """

    name: str
    layer: int

    def __post_init__(self) -> None:
        if self.name not in MATRICES:
            raise UnknownNameError("weight matrix", self.name, MATRICES)
        if self.layer < 0:
            raise BadValueError(f"matrix {self.name}: layer {self.layer} is negative.")

    def __str__(self) -> str:
        return f"{self.name}.{self.layer}"

    @classmethod
    def parse(cls, text: str) -> Matrix:
        """The matrix written as `down.3`; inverse of `str`.

        Raises:
            BadValueError: not of that form.
            UnknownNameError: no such name.
        """
        found = _PATTERN.fullmatch(text)
        if found is None:
            raise BadValueError(f"cannot read matrix {text!r}; write it as down.3.")
        return cls(found["name"], int(found["layer"]))
