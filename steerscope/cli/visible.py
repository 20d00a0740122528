"""Texts of models and users on a terminal, which obeys some characters in place of showing them."""

from __future__ import annotations

_KEPT = "\n\t\xa0\u202f\u3000\u200c\u200d"  # line ends and spaces, and what joins letters and emoji


def visible(text: str) -> str:
    """The same with what a terminal would obey in place of showing it written out."""
    return "".join(
        c if c.isprintable() or c in _KEPT else c.encode("unicode_escape").decode() for c in text
    )
