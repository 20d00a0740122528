"""Counting words: how often a text has those of one side rather than those of the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

from steerscope.errors import JudgeError
from steerscope.judges.scorers.searching import compiled, times_in
from steerscope.texts.files import read_text
from steerscope.texts.words import parts_in
from steerscope.texts.yaml_files import read_yaml

_KEYS = {"positive", "negative", "scope", "threshold"}
SCOPES = ("text", "first_sentence", "last_sentence")
_LINE = regex.compile(r"\w[\w'’ -]*")  # words, and nothing that means something in YAML
# Where a sentence ends: in scripts with spaces before one, else at once; a quotation goes on in lower case.
_CLOSING = r"[\"'”’»)\]」』】）》]"
_SPACED, _UNSPACED = "[.!?؟۔।॥]", "[。！？｡။។៕]"
_SENTENCE = regex.compile(
    rf"(?<={_SPACED})\s+|(?<={_SPACED}{_CLOSING}{{1,3}})\s++(?!\p{{Ll}})"
    rf"|(?<={_UNSPACED}{_CLOSING}{{0,3}})(?!{_UNSPACED}|{_CLOSING})\s*(?=\S)"
)


@dataclass(frozen=True)
class WordCounts:
    """Weighted matches of positive less those of negative patterns, per 100 words.

    score = 100 (Σ w⁺ n⁺ - Σ w⁻ n⁻) / words. A pattern is a word or a regular expression, matched
    whole and in any case. In scripts without spaces, such as Chinese, each letter counts as a word, and a
    pattern is matched wherever it stands.

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
            [(_pattern(p), w * side) for p, w in patterns.items()]
            for patterns, side in ((self.positive, 1.0), (self.negative, -1.0))
        ]
        weighed = [*sides[0], *sides[1]]
        return [self._score(text, weighed) for text in texts]

    def _score(self, text: str, weighed: list[tuple[Any, float]]) -> float:
        if self.scope != "text":
            sentences = _SENTENCE.split(text.strip())
            text = sentences[0] if self.scope == "first_sentence" else sentences[-1]
        n = len(parts_in(text))
        if not n:
            return float("nan")
        return 100 * sum(w * times_in(pattern, text) for pattern, w in weighed) / n


def read_words(path: str | Path) -> WordCounts:
    """Patterns from a YAML file, or from one with a word that speaks for the concept in each line.

    The keys of the YAML are `positive` and `negative` (lists, or weights by pattern), `scope` and `threshold`.

    Raises:
        JudgeError: no such file, an unknown key, no pattern, one that does not compile, a weight
            that is no finite number, or a threshold that no text can pass.
    """
    where, text = str(path), read_text(Path(path), JudgeError)
    if bare := _bare(text):
        return WordCounts(_weights(bare, where), {})
    data, lines = read_yaml(text, where, JudgeError)
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
    threshold = _number(data.get("threshold", 0.0), f"{where}: threshold")
    if not sides[0] and threshold >= 0:
        raise JudgeError(
            f"{where}: with words that speak against alone no text has more than 0 matches; add some "
            "under 'positive', or a threshold below 0."
        )
    return WordCounts(sides[0], sides[1], scope, threshold)


def _bare(text: str) -> list[str]:
    """The words of a file that has one in each line, or several; none of any other."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    plain = [line for line in lines if not line.startswith("#")]
    return plain if plain and all(_LINE.fullmatch(line) for line in plain) else []


def _weights(found: Any, where: str) -> dict[str, float]:
    """Patterns with their weights, each of which compiles."""
    if found is None:
        return {}
    if isinstance(found, list):
        found = dict.fromkeys((_text(pattern, where) for pattern in found), 1.0)
    if not isinstance(found, dict):
        raise JudgeError(f"{where}: must be a list of patterns, or weights by pattern.")
    for pattern in found:
        _pattern(_text(pattern, where), where)
    return {_text(p, where): _number(w, f"{where}, {p!r}") for p, w in found.items()}


def _text(pattern: Any, where: str) -> str:
    """A pattern as it was meant: YAML reads yes, no, null and dates as something else than words."""
    if isinstance(pattern, str) or (isinstance(pattern, int) and not isinstance(pattern, bool)):
        return str(pattern)
    raise JudgeError(f"{where}: {pattern!r} is no word; write it in quotes.")


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise JudgeError(f"{where}: must be a finite number, not {value!r}.")
    return float(value)


def _pattern(pattern: str, where: str = "words") -> Any:
    return compiled(pattern, where, whole_words=True)
