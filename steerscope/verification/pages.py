"""Everything that a page prints, with its place: in a sentence, a table or a figure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np

_PLOT = re.compile(r'Plotly\.newPlot\(\s*"[^"]+",\s*')
_NEXT = re.compile(r"\s*,\s*")
_BLOCKS = {"p", "li", "dd", "figcaption", "summary", "h1"}
_RANDOM = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_DRAWN = ("x", "y", "z", "r", "theta", "text", "customdata", "error_x", "error_y", "base")


@dataclass(frozen=True)
class Printed:
    """One piece of a page: where it stands, in words, and what it says."""

    place: str
    text: str


@dataclass
class _Table:
    columns: list[str] = field(default_factory=list)
    rows: int = 0


class _Reader(HTMLParser):
    """Walks through a page and keeps what is printed, how it is dressed, and what its figures draw."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Printed] = []
        self._section, self._figure = "top", ""
        self._counts: dict[str, int] = {}
        self._table = _Table()
        self._cells: list[str] = []
        self._text: list[str] | None = None
        self._tag, self._around = "", "page"
        self._is_data = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._around = tag
        self._is_data = tag == "script" and dict(attrs).get("type") == "application/json"
        if tag == "figure":
            self._figure = dict(attrs).get("id") or ""
        elif tag == "table":
            self._table = _Table()
        elif tag == "tr":
            self._cells = []
        if tag in _BLOCKS | {"td", "th", "h2", "h3"}:
            self._tag, self._text = tag, []

    def handle_endtag(self, tag: str) -> None:
        self._around, self._is_data = "page", False
        if tag == "tr":
            self._end_row()
        elif tag == "figure":
            self._figure = ""
        if self._text is None or tag != self._tag:
            return
        text, self._text = " ".join("".join(self._text).split()), None
        if tag in {"h2", "h3"}:
            self._section = self._section if self._figure else text
        elif tag == "th":
            self._table.columns.append(text)
        elif tag == "td":
            self._cells.append(text)
        else:
            self._keep(f"{self._figure or self._section}, {self._numbered(tag)}", text)

    def handle_data(self, data: str) -> None:
        if self._is_data:
            for place, value in _leaves(json.loads(data)):
                self._keep(f"{self._section}{place}", value)
        elif self._text is not None:
            self._text.append(data)
        elif data.strip() and not _is_drawing(data):  # a style, a title, a word between blocks
            self._keep(f"{self._section}, {self._numbered(self._around)}", " ".join(data.split()))
        for start in _PLOT.finditer(data):
            name = self._figure or self._numbered("figure")
            for place, value in _drawn(data, start.end()):
                self._keep(f"{name}, {place}", value)

    def _keep(self, place: str, text: str) -> None:
        self.found.append(Printed(place, text))

    def _numbered(self, tag: str) -> str:
        words = {"p": "paragraph", "li": "line", "dd": "line", "h1": "title"}.get(tag, tag)
        key = f"{self._figure or self._section} {words}"
        self._counts[key] = self._counts.get(key, 0) + 1
        return f"{words} {self._counts[key]}"

    def _end_row(self) -> None:
        table = self._table
        for number, text in enumerate(self._cells):
            column = table.columns[number] if number < len(table.columns) else f"column {number}"
            self._keep(f"{self._section}, row {table.rows + 1}, {column}", text)
        table.rows += bool(self._cells)


def _is_drawing(text: str) -> bool:
    """Plotly's program, what sets it up, and what it is told to draw, which is read apart."""
    text = text.strip()
    return text.startswith(("/**\n* plotly.js", "window.PlotlyConfig")) or bool(_PLOT.search(text))


def bare(page: str) -> str:
    """A page without the names that plotly gave its figures by chance."""
    return _RANDOM.sub("figure", page)


def printed(page: str) -> list[Printed]:
    """Sentences, cells of tables and points of figures of a page, in their order."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.found


def _drawn(script: str, start: int) -> Iterator[tuple[str, str]]:
    """The numbers of a figure and how it is laid out: titles, ranges of axes, lines, words."""
    decoder = json.JSONDecoder()
    traces, end = decoder.raw_decode(script, start)
    yield from numbers_of(traces)
    layout, _ = decoder.raw_decode(script, _NEXT.match(script, end).end())  # type: ignore[union-attr]
    for place, value in _leaves({k: v for k, v in layout.items() if k != "template"}):
        yield f"layout{place}", value


def numbers_of(traces: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Every number that a figure draws: its trace and place, and the number in full precision."""
    for number, trace in enumerate(traces):
        name = f"trace {trace.get('name') or number}"
        for key in _DRAWN:
            for place, value in _leaves(trace.get(key)):
                yield f"{name}, {key}{place}", value


def _leaves(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and "bdata" in value:  # how plotly writes an array
        flat = np.frombuffer(base64.b64decode(value["bdata"]), dtype=value["dtype"])
        value = flat.tolist()
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from ((f".{name}{place}", leaf) for place, leaf in _leaves(inside))
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            yield from ((f"[{number}]{place}", leaf) for place, leaf in _leaves(inside))
    elif value is not None:
        yield "", repr(value)
