"""How long a text is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Length:
    """Words until the text ends: by itself, or where writing stopped."""

    threshold: float | None = None

    @property
    def words(self) -> str:
        """What the score is."""
        return "words of the text"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """Words of each text."""
        return [float(len(text.split())) for text in texts]
