"""How things of ours appear in a notebook: facts in a line, texts side by side, all of it escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from os.path import commonprefix

from steerscope.texts.changes import changed_words, pieces

_SHORT = 60  # letters of a text in a line
_BEFORE = 12  # letters that two texts share, shown before they part
_ENDS, _STARTS = (">", "]", "\n"), ("<", "[", "\n")  # of the marks of a chat template
_STYLE = (
    "table.steerscope{border-collapse:collapse}"
    "table.steerscope th,table.steerscope td{text-align:left;vertical-align:top;white-space:pre-wrap;"
    "padding:.3rem .7rem;border-bottom:1px solid #8884}"
    "table.steerscope mark{background:#009e7333;color:inherit;text-decoration:underline}"
)


def counted(n: int, one: str) -> str:
    """A number of things, as in `1 row` and `2 rows`.

    Args:
        n: how many.
        one: what one of them is called, of which the plural ends in s.
    """
    return f"{n:,} {one}{'' if n == 1 else 's'}"


def counted_pairs(n: int, of: str) -> str:
    """How many pairs, and of what where that has a name of its own."""
    counted = f"{n} pair{'s' * (n != 1)}"
    return counted if of == "pairs" else f"{counted} of {of}"


def shortened(text: object, letters: int = _SHORT) -> str:
    """A text on one line, its end left out where it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= letters else f"{line[: letters - 3].rstrip()}..."


def without_template(texts: Sequence[str]) -> list[str]:
    """Texts of one chat template without what it puts around all of them.

    That is what they share at the front up to the end of a line or of a mark such as `<|user|>`, and the
    same at the back; texts that are all one are left as they are.
    """
    if len(set(texts)) < 2:
        return list(texts)
    front = commonprefix(list(texts))
    back = commonprefix([text[::-1] for text in texts])[::-1]
    first = 1 + max(front.rfind(mark) for mark in _ENDS)
    starts = [place for mark in _STARTS if (place := back.find(mark)) >= 0]
    last = len(back) - min(starts, default=len(back))
    found = [text[first : len(text) - last].strip() for text in texts]
    return found if all(found) else list(texts)


def where_they_part(first: str, second: str) -> tuple[str, str]:
    """Two texts on one line each, from a few words before the first letter that differs."""
    same = len(commonprefix([first, second]))
    start = first.rfind(" ", 0, max(0, same - _BEFORE)) + 1
    cut = "..." if start else ""
    return cut + shortened(first[start:]), cut + shortened(second[start:])


def facts_as_html(title: str, facts: Mapping[str, object]) -> str:
    """A title and what is known under it, one line each."""
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return _table(f"<caption><b>{html.escape(title)}</b></caption>{rows}")


def texts_as_html(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, before: int = -1
) -> str:
    """Texts side by side; what differs from the text in the column `before` is marked behind it."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(_cells(row, before))}</tr>" for row in rows)
    return _table(f"<caption><b>{html.escape(title)}</b></caption><tr>{head}</tr>{body}")


def _cells(row: Sequence[str], before: int) -> list[str]:
    return [
        f"<td>{_marked(row[before], text) if 0 <= before < place else html.escape(text)}</td>"
        for place, text in enumerate(row)
    ]


def _marked(before: str, text: str) -> str:
    """A text with what differs from another marked."""
    cut = pieces(text, changed_words(before, text)[1])
    return "".join(
        f"<mark>{html.escape(piece)}</mark>" if marked else html.escape(piece)
        for piece, marked in cut
    )


def _table(rows: str) -> str:
    return f'<style>{_STYLE}</style><table class="steerscope">{rows}</table>'
