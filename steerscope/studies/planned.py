"""What plans of a model have in common: which model, and how it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from steerscope.texts.bundled import DEFAULT_MODEL


@dataclass(frozen=True, kw_only=True)
class OfModel:
    """Which model is measured; the last five as in `load_model`.

    Attributes:
        model: name or folder.
        backbone: of the model.
        dtype: of its weights.
        bos: how texts begin.
        revision: of a model on the hub.
        seed: of splits, sampling and resamples.
    """

    FILES: ClassVar[
        tuple[str, ...]
    ] = ()  # fields that name a file, whose content decides the numbers

    model: str = DEFAULT_MODEL
    backbone: str = "auto"
    dtype: str = "auto"
    bos: str = "auto"
    revision: str | None = None
    seed: int = 0
