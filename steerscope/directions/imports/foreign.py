"""Vectors of another tool's file: where each belongs, and nothing of how it was found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from steerscope.errors import VectorFileError
from steerscope.sites import Site


@dataclass(frozen=True, eq=False)
class ForeignVectors:
    """Vectors as stored, not yet checked against a model.

    Attributes:
        format: name of the kind of file.
        vectors: by the site where the file's authors mean them, in our counting of layers.
        n_layers: of the model that they were made for, where the file shows it.
    """

    format: str
    vectors: Mapping[Site, Tensor]
    n_layers: int | None = None


def block_number(path: Path, text: str) -> int:
    """A 0-based block as written in a foreign file.

    Raises:
        VectorFileError: not a number, negative, or longer than any model has blocks.
    """
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII):
        raise VectorFileError(
            f"{path}: {text[:40]!r} is no layer; layers are numbers from 0, below 10000."
        )
    return int(text)
