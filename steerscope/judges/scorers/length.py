"""How long a text is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steerscope.texts.words import count_words


@dataclass(frozen=True)
class Length:
    """Words until the text ends: by itself, or where writing stopped.

    In scripts without spaces, such as Chinese, each letter is a word.
    """

    threshold: float | None = None

    @property
    def words(self) -> str:
        """What the score is."""
        return "words of the text"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """Words of each text."""
        return [float(count_words(text)) for text in texts]
