"""Sentiment by a lexicon and rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steerscope.errors import JudgeError


@dataclass(frozen=True)
class Sentiment:
    """The compound score of VADER: -1 is most negative, +1 most positive.

    Attributes:
        threshold: 0.05, above which its authors call a text positive.

    Source: Hutto & Gilbert 2014.
    """

    threshold: float = 0.05

    @property
    def words(self) -> str:
        """What the score is."""
        return "VADER compound score, -1 to 1"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """The compound score of each text.

        Raises:
            JudgeError: vaderSentiment is not installed.
        """
        reader = _reader()
        return [float(reader.polarity_scores(text)["compound"]) for text in texts]


def find_sentiment() -> Sentiment:
    """The judge, if its library is there.

    Raises:
        JudgeError: vaderSentiment is not installed.
    """
    _reader()
    return Sentiment()


def _reader() -> Any:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        raise JudgeError(
            "the judge sentiment needs vaderSentiment: pip install steerscope[judges], or name another (--judge)."
        ) from None
    return SentimentIntensityAnalyzer()
