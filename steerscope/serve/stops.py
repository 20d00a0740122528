"""Texts that end a text, found as it grows."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Passes a text on up to the first of some stops, which itself is left out.

    What may be the beginning of a stop is held back until it is known.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = tuple(stops), ""
        self.hit = False

    def take(self, words: str, *, last: bool = False) -> str:
        """What may be passed on of the text so far, after more words of it."""
        if self.hit:
            return ""
        text = self._held + words
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.hit, self._held = True, ""
            return text[: min(places)]
        keep = 0 if last else max((_begun(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _begun(text: str, stop: str) -> int:
    """How many letters at the end of a text may be the beginning of a stop."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
