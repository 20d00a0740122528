"""What texts show, by the judges that need no setting up: the oracle of the bundled world, VADER, repetition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from steerscope.judges import READERS
from steerscope.judges.scorers.sentiment import find_sentiment


def judges_for(model: str) -> list[str]:
    """The judges that can read what a model writes."""
    oracle = ["oracle"] if model in READERS else []
    sentiment = ["sentiment"] if find_spec("vaderSentiment") is not None else []
    return [*oracle, *sentiment]


def read_texts(model: str, prompt: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """What each text shows: what the oracle of its world tells, the compound score of VADER.

    A text that does not tell has null.
    """
    judges = judges_for(model)
    found: list[dict[str, Any]] = [{} for _ in texts]
    if "oracle" in judges:
        for entry, text in zip(found, texts, strict=True):
            entry |= READERS[model](text)
    if "sentiment" in judges:
        scores = find_sentiment().scores([prompt] * len(texts), list(texts))
        for entry, score in zip(found, scores, strict=True):
            entry["sentiment"] = None if math.isnan(score) else score
    return found
