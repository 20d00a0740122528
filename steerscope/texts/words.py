"""The words of a text in any script: one pattern for all that counts, compares or looks for words.

Scripts that put no space between words have a word for each letter. A letter keeps the marks that stand
above, below or behind it, such as the vowels of Hindi and Thai.
"""

from __future__ import annotations

from typing import Any

import regex

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\uff70\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = rf"(?=[\p{{L}}\p{{M}}\p{{Nl}}])[{_UNSPACED}]"
# A sign of Khmer or Burmese stacks the next letter below.
_ALONE = rf"{_LETTER}(?:[\u1039\u17d2]\p{{L}}|\p{{M}})*"
_RUN = rf"(?![\p{{M}}\u200c\u200d])(?:(?!{_LETTER})[\w\p{{N}}])+"
_APOSTROPHE = "['\u2019]"

_WORD = regex.compile(rf"{_ALONE}|{_RUN}(?:{_APOSTROPHE}{_RUN})*")
_PART = regex.compile(rf"{_ALONE}|{_RUN}")
_OR_SIGN = regex.compile(
    rf"{_ALONE}|{_RUN}|[^\w\p{{N}}\s](?:(?!\ufe0f)\p{{M}})*|[\p{{M}}\u200c\u200d]"
)
_BETWEEN_BLANKS = regex.compile(rf"{_ALONE}|(?:(?!{_LETTER})\S)+")
_ALONE_SOMEWHERE = regex.compile(_LETTER)

# What stands before and behind a pattern that is matched as whole words.
WORD_BEGINS = rf"(?:(?<!\w)|(?<=[{_UNSPACED}])|(?=[{_UNSPACED}]))"
WORD_ENDS = rf"(?:(?!\w)|(?=[{_UNSPACED}])|(?<=[{_UNSPACED}]))(?!\p{{M}})"


def words_in(text: str) -> list[str]:
    """The words of a text, those with an apostrophe whole, without signs."""
    return _WORD.findall(text)


def parts_in(text: str) -> list[str]:
    """The words of a text, cut at apostrophes too, without signs."""
    return _PART.findall(text)


def part_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of `parts_in` stand, as places of characters."""
    return [match.span() for match in _PART.finditer(text)]


def words_and_signs(text: str) -> list[Any]:
    """The matches of words, cut at apostrophes too, and of signs, each of which is one by itself."""
    return list(_OR_SIGN.finditer(text))


def between_blanks(text: str) -> list[Any]:
    """The matches of what stands between blanks, signs and all; letters of scripts without blanks alone."""
    return list(_BETWEEN_BLANKS.finditer(text))


def count_words(text: str) -> int:
    """How many words a text has: what stands between blanks, and letters of scripts without blanks."""
    return sum(
        len(parts_in(piece)) if _ALONE_SOMEWHERE.search(piece) else 1 for piece in text.split()
    )
