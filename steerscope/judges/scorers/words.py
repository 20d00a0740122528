"""Counting words: how often a text has those of one side rather than those of the other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerscope.errors import JudgeError
from steerscope.texts.files import read_text
from steerscope.texts.yaml_files import read_yaml

_KEYS = {"positive", "negative", "scope", "threshold"}
SCOPES = ("text", "first_sentence", "last_sentence")
_WORD = re.compile(r"\w+", re.UNICODE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_LONGEST = 500  # characters of a pattern


@dataclass(frozen=True)
class WordCounts:
    """Weighted matches of positive less those of negative patterns, per 100 words.

    score = 100 (Σ w⁺ n⁺ - Σ w⁻ n⁻) / words. A pattern is a word or a regular expression, matched
    whole and in any case.

    Attributes:
        positive: pattern and weight of what speaks for the concept.
        negative: of what speaks against it.
        scope: `text`, `first_sentence` or `last_sentence`.
        threshold: counts per 100 words above which a text shows the concept.
    """

    positive: Mapping[str, float]
    negative: Mapping[str, float]
    scope: str = "text"
    threshold: float = 0.0

    @property
    def words(self) -> str:
        """What the score is."""
        return "weighted matches per 100 words"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """Matches per 100 words of each text; NaN for one without a word."""
        sides = [
            [(_compiled(p), w * side) for p, w in patterns.items()]
            for patterns, side in ((self.positive, 1.0), (self.negative, -1.0))
        ]
        weighed = [*sides[0], *sides[1]]
        return [self._score(text, weighed) for text in texts]

    def _score(self, text: str, weighed: list[tuple[re.Pattern[str], float]]) -> float:
        if self.scope != "text":
            sentences = _SENTENCE.split(text.strip())
            text = sentences[0] if self.scope == "first_sentence" else sentences[-1]
        n = len(_WORD.findall(text))
        if not n:
            return float("nan")
        return 100 * sum(w * len(pattern.findall(text)) for pattern, w in weighed) / n


def read_words(path: str | Path) -> WordCounts:
    """Patterns from a YAML file.

    Its keys are `positive` and `negative` (lists, or weights by pattern), `scope` and `threshold`.

    Raises:
        JudgeError: no such file, an unknown key, no pattern, one that does not compile, or a weight
            that is no finite number.
    """
    where = str(path)
    data, lines = read_yaml(read_text(Path(path), JudgeError), where, JudgeError)
    for key in data:
        if key not in _KEYS:
            line = lines.get((key,))
            raise JudgeError(
                f"{where}, line {line}: unknown key {key!r}; known: {', '.join(sorted(_KEYS))}."
            )
    sides = [_weights(data.get(side), f"{where}: {side}") for side in ("positive", "negative")]
    if not any(sides):
        raise JudgeError(f"{where}: needs a list of patterns under 'positive' or 'negative'.")
    scope = data.get("scope", "text")
    if scope not in SCOPES:
        raise JudgeError(f"{where}: unknown scope {scope!r}; known: {', '.join(SCOPES)}.")
    return WordCounts(
        sides[0], sides[1], scope, _number(data.get("threshold", 0.0), f"{where}: threshold")
    )


def _weights(found: Any, where: str) -> dict[str, float]:
    """Patterns with their weights, each of which compiles."""
    if found is None:
        return {}
    if isinstance(found, list):
        found = dict.fromkeys(map(_text, found), 1.0)
    if not isinstance(found, dict):
        raise JudgeError(f"{where}: must be a list of patterns, or weights by pattern.")
    for pattern in found:
        _compiled(_text(pattern), where)
    return {_text(p): _number(w, f"{where}, {p!r}") for p, w in found.items()}


def _text(pattern: Any) -> str:
    return str(pattern)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise JudgeError(f"{where}: must be a finite number, not {value!r}.")
    return float(value)


def _compiled(pattern: str, where: str = "") -> re.Pattern[str]:
    if not pattern.strip() or len(pattern) > _LONGEST:
        raise JudgeError(f"{where}: a pattern has 1 to {_LONGEST} characters.")
    try:
        return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE)
    except re.error as error:
        raise JudgeError(f"{where}: pattern {pattern[:60]!r} does not compile ({error}).") from None
