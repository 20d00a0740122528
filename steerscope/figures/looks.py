"""The same figure for a screen or a column of a paper, in light or in dark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

import plotly.graph_objects as go

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.figures.theme import BLACK, BLUE, GREEN, GREY, ORANGE, PANEL, PINK, RED, SKY

Theme = Literal["light", "dark"]
THEMES: tuple[str, ...] = get_args(Theme)
COLUMN_INCHES = {1: 3.25, 2: 6.75}
PIXELS_PER_INCH = 96  # what kaleido takes a pixel for in SVG and PDF
CAPTION = "caption"  # name of an annotation, and key of a figure's meta

_DARK = {
    BLACK: "#E8E8E8", BLUE: "#4AA8E0", SKY: "#A6DCF7", GREEN: "#2BC49A", ORANGE: "#F2B134",
    RED: "#F0803A", PINK: "#E09CC3", GREY: "#9D9D9D", PANEL: "#3A3F44",
}  # fmt: skip
_DARK_PAPER, _DARK_GRID = "#15181B", "#3A3F44"
_SIZES = {1: 10.0, 2: 11.0}  # pixels: 7.5 and 8.25 points in print
_SCREEN_SIZE = 12.0
_LINE = 1.3  # height of a line of text, as a share of the font size
_LEGEND_SYMBOL = 42  # pixels before the text of a legend's entry
_NARROW, _WIDE = frozenset("iljtfrI.,:;'|![]() "), frozenset("mwMW%@—")
_LABEL_SHARE = 0.3  # of the width of the figure that names of categories may take


@dataclass(frozen=True)
class Look:
    """How figures are dressed.

    Attributes:
        theme: light or dark.
        columns: 1 or 2 columns of a paper, 3.25 or 6.75 inches wide; None for a screen, where the
            caption stands below the picture.
    """

    theme: Theme = "light"
    columns: int | None = None

    def __post_init__(self) -> None:
        if self.theme not in THEMES:
            raise UnknownNameError("theme", self.theme, THEMES)
        if self.columns is not None and self.columns not in COLUMN_INCHES:
            raise BadValueError(f"a figure spans 1 or 2 columns, not {self.columns}.")


SCREEN = Look()


def text_width(text: str, size: float) -> float:
    """Width in pixels of the longest line of a text in a Helvetica-like font, rather too wide."""
    return max((_line_width(line, size) for line in _lines(text)), default=0.0)


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


def captioned(figure: go.Figure, caption: str) -> go.Figure:
    """The same figure, which now carries a caption."""
    return go.Figure(figure).update_layout(meta={CAPTION: caption})


def caption_of(figure: go.Figure) -> str:
    """What the caption of a figure says; empty without one."""
    said = [_plain(a.text) for a in figure.layout.annotations if a.name == CAPTION]
    meta = figure.layout.meta
    if isinstance(meta, dict) and meta.get(CAPTION):
        said.append(str(meta[CAPTION]))
    return " ".join(said)


def dressed(figure: go.Figure, look: Look = SCREEN) -> go.Figure:
    """A copy of a figure in a look: colours, width, size of the letters, lines of its titles."""
    shown = figure if look.theme == "light" else _darkened(figure)
    shown = go.Figure(shown)
    return _on_screen(shown) if look.columns is None else _in_columns(shown, look.columns)


def _on_screen(figure: go.Figure) -> go.Figure:
    """The caption in its own lines below the picture, unless the figure has drawn it already."""
    meta = figure.layout.meta
    if not (isinstance(meta, dict) and meta.get(CAPTION)):
        return figure
    layout = figure.layout
    text = wrapped(str(meta[CAPTION]), _SCREEN_SIZE, layout.width - 24)
    extra = int((text.count("<br>") + 1) * _SCREEN_SIZE * _LINE) + 14
    figure.add_annotation(
        name=CAPTION, text=text, showarrow=False, align="left", font={"size": _SCREEN_SIZE},
        xref="paper", x=0, xanchor="left", xshift=12 - layout.margin.l, yref="paper", y=0,
        yanchor="top", yshift=-layout.margin.b, 
    )  # fmt: skip
    figure.update_layout(
        height=layout.height + extra, margin={"b": layout.margin.b + extra}, meta=None
    )
    figure.update_xaxes(automargin=False)
    return figure


# -- columns of a paper -----------------------------------------------------------------------------


def _in_columns(figure: go.Figure, columns: int) -> go.Figure:
    size, layout = _SIZES[columns], figure.layout
    width = COLUMN_INCHES[columns] * PIXELS_PER_INCH
    ratio = width / layout.width
    by_row = any(a.type == "category" and a.categoryarray for a in figure.select_yaxes())
    # Rows of names need the height of their letters, whatever the width.
    height = layout.height * (max(ratio, 0.62) if by_row else max(ratio, 0.42))
    figure.layout.annotations = [a for a in layout.annotations if a.name != CAPTION]
    title = wrapped(layout.title.text or "", size + 1, width - 16)
    title_height = (title.count("<br>") + 1) * (size + 1) * _LINE + 8
    top = title_height + _legend_height(figure, width, size)
    panels = _wrap_annotations(figure, width, size)
    figure.update_layout(
        width=width,
        height=height + (title_height - 20) + panels,
        font={"size": size},
        margin={"l": 8, "r": 10, "t": top + panels + 4, "b": 8},
        title={
            "text": title, "font": {"size": size + 1}, "x": 8 / width, "yref": "container", "y": 1,
            "yanchor": "top", "pad": {"t": 6},
        },
    )  # fmt: skip
    figure.update_layout(
        legend={
            "orientation": "h", "font": {"size": size - 0.5}, "xref": "container", "x": 0.0,
            "xanchor": "left", "yref": "container", "y": 1 - title_height / figure.layout.height,
            "yanchor": "top", "itemsizing": "constant",
        }
    )  # fmt: skip
    _shrink_axes(figure, size)
    _shrink_marks(figure, max(ratio, 0.6))
    return figure


def _legend_height(figure: go.Figure, width: float, size: float) -> float:
    names = [
        t.name for t in figure.data if t.name and t.showlegend is not False and t.type in _IN_LEGEND
    ]
    named_alone = len(names) == 1 and figure.data[0].showlegend is not True and len(figure.data) == 1
    if not names or named_alone or figure.layout.showlegend is False:
        return 0.0
    widest = max(text_width(n, size - 0.5) for n in names) + _LEGEND_SYMBOL
    rows = -(-len(names) // max(1, int((width - 10) / widest)))
    return rows * (size * _LINE + 6) + 4


_IN_LEGEND = frozenset({"scatter", "bar", "scatterpolar", "box", "violin", "histogram"})


def _wrap_annotations(figure: go.Figure, width: float, size: float) -> float:
    """Titles of panels and notes in the size of the page; the height that the titles need more."""
    titles = [a for a in figure.layout.annotations if a.yref == "paper" and a.y is not None]
    across = [a for a in titles if a.y > 0.99]
    lines = 0
    for note in figure.layout.annotations:
        note.font.size = size
    for note in across:
        note.text = wrapped(note.text, size, 0.85 * width / max(1, len({a.x for a in across})))
        lines = max(lines, note.text.count("<br>") + 1)
    return lines * size * _LINE


def _shrink_axes(figure: go.Figure, size: float) -> None:
    layout = figure.layout
    plot_width = layout.width * 0.72
    plot_height = layout.height - layout.margin.t - 4 * size
    for axis, room in (
        *((a, plot_width) for a in figure.select_xaxes()),
        *((a, plot_height) for a in figure.select_yaxes()),
    ):
        low, high = axis.domain or (0.0, 1.0)
        if axis.title.text:
            # A title may stand over the gap beside its panel, but not over the next title.
            share = min(1.0, 1.15 * (high - low))
            axis.title = {"text": wrapped(axis.title.text, size, share * room), "standoff": 5}
        axis.title.font = {"size": size}
        axis.tickfont.size = size - 1
        axis.automargin = True
        axis.ticklen = 3
    for axis in figure.select_yaxes():
        if axis.type == "category" and axis.categoryarray:
            names = [str(n) for n in axis.categoryarray]
            axis.tickvals = names
            axis.ticktext = [wrapped(n, size - 1, _LABEL_SHARE * layout.width) for n in names]
    for trace in figure.data:
        if trace.type == "heatmap" and trace.showscale is not False:
            bar = trace.colorbar
            bar.thickness, bar.tickfont, bar.xpad = 9, {"size": size - 1}, 4
            text = wrapped(bar.title.text or "", size, plot_height)
            bar.title = {"text": text, "side": "right", "font": {"size": size}}
        if trace.type in {"heatmap", "scatter"}:
            trace.textfont.size = min(trace.textfont.size or size, size - 1)


def _shrink_marks(figure: go.Figure, factor: float) -> None:
    for trace in figure.data:
        if trace.type not in {"scatter", "scatterpolar"}:
            continue
        mark, line = trace.marker, trace.line
        if isinstance(mark.size, (int, float)):
            mark.size = max(4.0, factor * mark.size)
        if line.width:
            line.width = max(1.0, factor * line.width)


# -- text and colours -------------------------------------------------------------------------------


def _lines(text: str) -> list[str]:
    return [_plain(line) for line in text.split("<br>")]


def _plain(text: str) -> str:
    return re.sub(r"<[^>]*>", " ", text).strip()


def _line_width(text: str, size: float) -> float:
    return size * sum(_character_width(c) for c in _plain(text))


def _character_width(character: str) -> float:
    """Width as a share of the font size, after the metrics of Helvetica."""
    if character in _NARROW:
        return 0.31
    if character in _WIDE:
        return 0.88
    return 0.7 if character.isupper() else 0.56


def _darkened(figure: go.Figure) -> go.Figure:
    dark = go.Figure(_recoloured(figure.to_dict()))
    if figure.layout.plot_bgcolor is None:
        dark.update_layout(plot_bgcolor=_DARK_PAPER)
    dark.update_layout(
        paper_bgcolor=_DARK_PAPER, font={"color": _DARK[BLACK]}, hoverlabel={"bgcolor": _DARK_GRID}
    )
    axis = {"gridcolor": _DARK_GRID, "linecolor": _DARK[GREY], "tickcolor": _DARK[GREY]}
    dark.update_xaxes(**axis)
    dark.update_yaxes(**axis)
    dark.update_polars(
        bgcolor=_DARK_PAPER, radialaxis_gridcolor=_DARK_GRID, angularaxis_gridcolor=_DARK_GRID
    )
    return dark


def _recoloured(value: Any) -> Any:
    """Every colour of the light theme in its dark shade, wherever it stands."""
    if isinstance(value, dict):
        return {k: _recoloured(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_recoloured(v) for v in value]
    if not isinstance(value, str):
        return value
    if value.startswith("rgba("):
        return next(
            (
                value.replace(_digits(a), _digits(b))
                for a, b in _DARK.items()
                if value.startswith(f"rgba({_digits(a)},")
            ),
            value,
        )
    return _DARK.get(value, value)


def _digits(colour: str) -> str:
    return ",".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
