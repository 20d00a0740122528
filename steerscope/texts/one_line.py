"""Messages as one short line, for a terminal, a log or an answer of a server."""

from __future__ import annotations

import re

_LONG_WORD = re.compile(r"\S{200,}")  # a longer name or number is shortened
_LONGEST_LINE = 1500  # characters


def one_line(text: str) -> str:
    """A message as one short line, whatever of the user's it repeats; no control character is left."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    line = _LONG_WORD.sub(_shortened, line)
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} ..."


def _shortened(word: re.Match[str]) -> str:
    whole = word[0]
    return f"{whole[:80]}...{whole[-40:]} ({len(whole):,} characters)"
