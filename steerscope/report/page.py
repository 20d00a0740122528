"""What every page is made of: texts, tables, figures with captions, and the sheet around them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.files import Plate
from steerscope.figures.lettering import plain_text
from steerscope.figures.program import plotly_program
from steerscope.figures.theme import HEIGHT
from steerscope.runs.tables import is_p, p_value


@dataclass(frozen=True)
class Page:
    """What a page says: the title of its window and its parts as HTML."""

    title: str
    body: list[str]


def as_text(text: object) -> str:
    """A text with what HTML would read as markup escaped, and what reading a file would change."""
    return html.escape(str(text)).replace("\r", "&#13;")


def bold_head(line: str) -> str:
    """A line whose part before the colon is bold."""
    head, _, rest = line.partition(": ")
    return f"<b>{as_text(head)}:</b> {as_text(rest)}"


def plot_id(plate: Plate) -> str:
    """The id of a drawing, which plotly may write into a tag and into a script, where none is escaped."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"{plate.name}-plot")


def as_figure(plate: Plate) -> str:
    """A figure with its title, a short caption, and what else there is to know of it behind that."""
    figure = go.Figure(plate.figure)
    title = plain_text(str(figure.layout.title.text or ""))
    heights = float(figure.layout.height or HEIGHT)
    figure.update_layout(title=None, width=None, height=None, autosize=True, margin={"t": 50})
    drawn = figure.to_html(
        include_plotlyjs=False,
        full_html=False,
        config={"displaylogo": False, "responsive": True},
        div_id=plot_id(plate),
        default_width="100%",
        default_height=f"{heights:.0f}px",
    )
    several = len([*figure.select_xaxes()]) > 1
    more = folded("More about this figure", f"<p>{as_text(plate.more)}</p>") if plate.more else ""
    return (
        f'<figure id="{as_text(plate.name)}"><h3>{as_text(title)}</h3>'
        f'<div class="plot{" wide" if several else ""}">{drawn}</div>'
        f"<figcaption>{as_text(plate.caption)}</figcaption>{more}</figure>"
    )


def as_table(frame: pd.DataFrame, formats: dict[str, Callable[[float], str]] | None = None) -> str:
    """A table of numbers; what is missing is a dash, and one without rows says so."""
    if frame.empty:
        return "<p>No rows.</p>"
    return frame.to_html(
        index=False, border=0, na_rep="-", formatters=formats or {}, classes="numbers", escape=True
    )


def as_number_table(frame: pd.DataFrame) -> str:
    """A table of numbers with three digits after the point, and of a p those that count."""
    floats = [name for name in frame.columns if frame[name].dtype.kind == "f"]
    return as_table(frame, {c: p_value if is_p(c) else "{:.3f}".format for c in floats})


def folded(summary: str, content: str) -> str:
    """Content that opens with a click; nothing where there is none."""
    if not content:
        return ""
    return f"<details><summary>{as_text(summary)}</summary>{content}</details>"


def contents(parts: Mapping[str, str]) -> str:
    """The table of contents: links to parts by their ids."""
    links = (f'<li><a href="#{as_text(i)}">{as_text(name)}</a></li>' for i, name in parts.items())
    return f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'


def as_sheet(page: Page) -> str:
    """The whole page, which opens offline."""
    body = "\n".join(page.body)
    style, program = (_beside(name) for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{as_text(page.title)}</title>\n<style>\n{style}</style>\n"
        f"<script>{plotly_program()}</script>\n</head><body>\n{body}\n"
        f"<script>\n{program}</script>\n</body></html>\n"
    )


@cache
def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
