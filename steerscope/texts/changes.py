"""Which words of a text differ from those of another."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from steerscope.texts.words import words_and_signs

Stretches = list[tuple[int, int]]  # first letter of each stretch, and the one behind its last


def changed_words(before: str, after: str) -> tuple[Stretches, Stretches]:
    """The stretches of two texts whose words the other has not at that place.

    What is left over when both are read side by side, so that a word that only moved on is no change.
    Spaces count for nothing: they are in a stretch where they lie between words of it.

    Returns:
        For each text its stretches in order, as places of letters.
    """
    old, new = (words_and_signs(text) for text in (before, after))
    words, others = [m[0] for m in old], [m[0] for m in new]
    start = _alike(words, others)
    end = _alike(words[start:][::-1], others[start:][::-1])
    stops = len(old) - end, len(new) - end
    parts = SequenceMatcher(None, words[start : stops[0]], others[start : stops[1]])
    steps = [step for step in parts.get_opcodes() if step[0] != "equal"]
    left = [_letters(old, start + a, start + b) for _, a, b, _, _ in steps if b > a]
    right = [_letters(new, start + a, start + b) for _, _, _, a, b in steps if b > a]
    return left, right


def _alike(words: Sequence[str], others: Sequence[str]) -> int:
    """How many words are the same from the first on."""
    pairs = enumerate(zip(words, others, strict=False))
    differs = (i for i, (a, b) in pairs if a != b)
    return next(differs, min(len(words), len(others)))


def _letters(words: Sequence[Any], first: int, behind: int) -> tuple[int, int]:
    return words[first].start(), words[behind - 1].end()


def pieces(text: str, stretches: Stretches) -> list[tuple[str, bool]]:
    """A text cut at its stretches: each piece with whether it is one; none is empty."""
    found, at = [], 0
    for start, end in stretches:
        found += [(text[at:start], False), (text[start:end], True)]
        at = end
    return [(piece, marked) for piece, marked in [*found, (text[at:], False)] if piece]
