"""Patterns of the user's, looked for in texts of a model's: each in bounded time."""

from __future__ import annotations

from typing import Any

import regex

from steerscope.errors import JudgeError
from steerscope.texts.words import WORD_BEGINS, WORD_ENDS

LONGEST = 500  # characters of a pattern
_SECONDS = 2.0  # for one text, of which a usual pattern takes a thousandth


def compiled(pattern: str, where: str, *, whole_words: bool = False) -> Any:
    """A pattern that compiles.

    Args:
        pattern: a regular expression.
        where: it stands, for the messages.
        whole_words: whether it is matched as whole words, in any case; in scripts without spaces a word may
            begin and end at any letter.

    Raises:
        JudgeError: it is empty, too long, or does not compile.
    """
    if not pattern.strip() or len(pattern) > LONGEST:
        raise JudgeError(f"{where}: needs a pattern of 1 to {LONGEST} characters.")
    try:
        if whole_words:
            return regex.compile(f"{WORD_BEGINS}(?:{pattern}){WORD_ENDS}", regex.IGNORECASE)
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        said = f"{error}" or type(error).__name__
        raise JudgeError(f"{where}: pattern {pattern[:60]!r} does not compile ({said}).") from None


def found_in(pattern: Any, text: str) -> bool:
    """Whether a compiled pattern is anywhere in a text.

    Raises:
        JudgeError: it takes too long to tell.
    """
    try:
        return pattern.search(text, timeout=_SECONDS) is not None
    except TimeoutError:
        raise _too_long(pattern) from None


def times_in(pattern: Any, text: str) -> int:
    """How often a compiled pattern is in a text, not overlapping.

    Raises:
        JudgeError: it takes too long to tell.
    """
    try:
        return sum(1 for _ in pattern.finditer(text, timeout=_SECONDS))
    except TimeoutError:
        raise _too_long(pattern) from None


def spans_in(pattern: Any, text: str) -> list[tuple[int, int]]:
    """Where a compiled pattern is in a text, not overlapping, as places of characters.

    Raises:
        JudgeError: it takes too long to tell.
    """
    try:
        return [match.span() for match in pattern.finditer(text, timeout=_SECONDS)]
    except TimeoutError:
        raise _too_long(pattern) from None


def _too_long(pattern: Any) -> JudgeError:
    return JudgeError(
        f"the pattern {str(pattern.pattern)[:60]!r} takes more than {_SECONDS:g} seconds on one text; "
        "write it without repeats of repeats such as (a+)+."
    )
