"""How much room letters take, without drawing them."""

from __future__ import annotations

import html
import re

LINE = 1.3  # height of a line of text, as a share of the font size
_NARROW, _WIDE = frozenset("iljtfrI.,:;'|![]() "), frozenset("mwMW%@—")


def text_width(text: str, size: float) -> float:
    """Width in pixels of the longest line of a text in a Helvetica-like font, rather too wide."""
    return max((_line_width(line, size) for line in text.split("<br>")), default=0.0)


def text_height(text: str, size: float) -> float:
    """Height in pixels of all lines of a text; 0 for none."""
    return (text.count("<br>") + 1) * size * LINE if text else 0.0


def wrapped(text: str, size: float, width: float) -> str:
    """The text with `<br>` where a line would be wider than `width` pixels."""
    lines: list[str] = []
    for line in text.split("<br>"):
        current = ""
        for word in line.split(" "):
            longer = f"{current} {word}".strip()
            if current and _line_width(longer, size) > width:
                lines.append(current)
                current = word
            else:
                current = longer
        lines.append(current)
    return "<br>".join(lines)


def plain_text(text: str) -> str:
    """A text without markup, on one line."""
    return html.unescape(re.sub(r"<[^>]*>", " ", text)).strip()


def _line_width(line: str, size: float) -> float:
    return size * sum(_character_width(c) for c in plain_text(line))


def _character_width(character: str) -> float:
    """Width as a share of the font size, after the metrics of Helvetica."""
    if character in _NARROW:
        return 0.31
    if character in _WIDE:
        return 0.88
    return 0.7 if character.isupper() else 0.56
