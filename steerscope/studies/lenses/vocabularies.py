"""Lenses as YAML: a name each, and words or weights by word; and what a text shows under one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerscope.errors import JudgeError
from steerscope.judges.scorers.searching import compiled, spans_in
from steerscope.texts.files import read_text
from steerscope.texts.words import part_spans
from steerscope.texts.yaml_files import read_yaml

_MOST = 1000  # words of one lens


@dataclass(frozen=True)
class Lens:
    """A vocabulary.

    Attributes:
        name: of the topic.
        weights: by word or regular expression, matched whole and in any case.
    """

    name: str
    weights: Mapping[str, float]

    def rarer(self, texts: Sequence[str]) -> Lens:
        """The same with each weight times log((1 + n) / (1 + n with the word)): what is common says little.

        A word that is in every text weighs 0.

        Args:
            texts: n texts of the model without steering.
        """
        patterns = {word: compiled(word, self.name, whole_words=True) for word in self.weights}
        found = {
            word: sum(bool(spans_in(pattern, text)) for text in texts)
            for word, pattern in patterns.items()
        }
        rarity = {word: math.log((1 + len(texts)) / (1 + n)) for word, n in found.items()}
        return Lens(self.name, {word: w * rarity[word] for word, w in self.weights.items()})

    def knows(self, text: str) -> bool:
        """Whether the text has a word of the lens, whatever that weighs."""
        patterns = (compiled(word, self.name, whole_words=True) for word in self.weights)
        return any(next(iter(spans_in(pattern, text)), None) for pattern in patterns)

    def score(self, text: str) -> float:
        """Weight of the words of the text that the lens knows, per 100 words; NaN for no words.

        A word counts once, by the heaviest of what matches it.
        """
        places = part_spans(text)
        if not places:
            return math.nan
        heaviest = [0.0] * len(places)
        for word, weight in self.weights.items():
            pattern = compiled(word, self.name, whole_words=True)
            for start, stop in spans_in(pattern, text):
                first = next((i for i, (a, b) in enumerate(places) if b > start and a < stop), None)
                if first is not None:  # a phrase counts at its first word
                    heaviest[first] = max(heaviest[first], weight)
        return 100 * sum(heaviest) / len(places)


def read_lenses(path: str | Path) -> tuple[Lens, ...]:
    """The lenses of a YAML file: under `lenses` a name each, with a list of words or weights by word.

    Raises:
        JudgeError: no such file, an unknown key, no lens, no word in one, a word that does not compile, or a
            weight that is no number above 0.
    """
    where = str(path)
    data, lines = read_yaml(read_text(Path(path), JudgeError), where, JudgeError)
    strange = [key for key in data if key != "lenses"]
    if strange:
        line = lines.get((strange[0],))
        raise JudgeError(f"{where}, line {line}: unknown key {strange[0]!r}; known: lenses.")
    found = data.get("lenses")
    if not isinstance(found, dict) or not found:
        raise JudgeError(f"{where}: needs `lenses:` with a name and its words for each.")
    return tuple(_lens(name, words, where) for name, words in found.items())


def _lens(name: str, said: Any, where: str) -> Lens:
    at = f"{where}: lens {name!r}"
    given = dict.fromkeys(map(_word, said), 1.0) if isinstance(said, list) else said
    if not isinstance(given, dict) or not given:
        raise JudgeError(f"{at} needs a list of words, or weights by word.")
    if len(given) > _MOST:
        raise JudgeError(f"{at} has {len(given)} words; give at most {_MOST}.")
    weights = {}
    for word, weight in given.items():
        if not isinstance(word, str) or not word.strip():
            raise JudgeError(f"{at}: {word!r} is no word; write it in quotes.")
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 < weight < 1e6:
            raise JudgeError(
                f"{at}, {word!r}: the weight must be a number above 0, not {weight!r}."
            )
        compiled(word, at, whole_words=True)
        weights[word] = float(weight)
    return Lens(str(name), weights)


def _word(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
