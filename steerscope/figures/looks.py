"""The same figure for a screen or a column of a paper, in light or in dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import plotly.graph_objects as go

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.figures.columns import CAPTION, in_columns
from steerscope.figures.lettering import LINE, plain_text, wrapped
from steerscope.figures.literal import literal
from steerscope.figures.theme import BLACK, BLUE, GREEN, GREY, ORANGE, PANEL, PINK, RED, SKY
from steerscope.figures.ticks import space_ticks

Theme = Literal["light", "dark"]
THEMES: tuple[str, ...] = get_args(Theme)

_DARK = {
    BLACK: "#E8E8E8", BLUE: "#4AA8E0", SKY: "#A6DCF7", GREEN: "#2BC49A", ORANGE: "#F2B134",
    RED: "#F0803A", PINK: "#E09CC3", GREY: "#9D9D9D", PANEL: "#3A3F44",
}  # fmt: skip
_DARK_PAPER, _DARK_GRID = "#15181B", "#3A3F44"
_SCREEN_SIZE = 12.0
_TITLE, _LEAST_TOP = 30, 30  # pixels above the picture that a title takes, and that are kept
_TITLE_LINE = 22  # pixels that another line of an axis title takes


@dataclass(frozen=True)
class Look:
    """How figures are dressed.

    Attributes:
        theme: light or dark.
        columns: 1 or 2 columns of a paper, 3.25 or 6.75 inches wide; None for a screen, where the
            caption stands below the picture.
        title: whether the title is drawn; a paper says it in the caption.
    """

    theme: Theme = "light"
    columns: int | None = None
    title: bool = True


SCREEN = Look()


def parse_look(theme: str, columns: int | None, *, title: bool = True) -> Look:
    """A look from the words of a command line.

    Raises:
        UnknownNameError: no such theme.
        BadValueError: a figure spans 1 or 2 columns.
    """
    if theme not in THEMES:
        raise UnknownNameError("theme", theme, THEMES)
    if columns not in (None, 1, 2):
        raise BadValueError(f"a figure spans 1 or 2 columns, not {columns}.")
    return Look("dark" if theme == "dark" else "light", columns, title)


def captioned(figure: go.Figure, caption: str) -> go.Figure:
    """The same figure, which now carries a caption."""
    return go.Figure(figure).update_layout(meta={CAPTION: caption})


def caption_of(figure: go.Figure) -> str:
    """What the caption of a figure says; empty without one."""
    said = [plain_text(a.text) for a in figure.layout.annotations if a.name == CAPTION]
    meta = figure.layout.meta
    if isinstance(meta, dict) and meta.get(CAPTION):
        said.append(str(meta[CAPTION]))
    return " ".join(said)


def dressed(figure: go.Figure, look: Look = SCREEN) -> go.Figure:
    """A copy of a figure in a look: colours, width, title or none, size of the letters."""
    shown = figure if look.theme == "light" else _darkened(figure)
    shown = go.Figure(shown)
    if not look.title:
        shown.update_layout(
            title=None, margin={"t": max(_LEAST_TOP, shown.layout.margin.t - _TITLE)}
        )
    if look.columns is not None:
        return in_columns(shown, look.columns)
    layout, around = shown.layout, shown.layout.margin
    width = (layout.width or 0) - (around.l or 0) - (around.r or 0)
    height = (layout.height or 0) - (around.t or 0) - (around.b or 0)
    space_ticks(shown, width, height, layout.font.size or _SCREEN_SIZE)
    return _on_screen(shown)


def _on_screen(figure: go.Figure) -> go.Figure:
    """The caption in its own lines below the picture, unless the figure has drawn it already."""
    meta = figure.layout.meta
    if not (isinstance(meta, dict) and meta.get(CAPTION)):
        return figure
    layout = figure.layout
    text = wrapped(literal(str(meta[CAPTION])), _SCREEN_SIZE, float(layout.width) - 24)
    extra = int((text.count("<br>") + 1) * _SCREEN_SIZE * LINE) + 14
    breaks = [str(axis.title.text or "").count("<br>") for axis in figure.select_xaxes()]
    below = layout.margin.b + max(breaks, default=0) * _TITLE_LINE
    figure.add_annotation(
        name=CAPTION, text=text, showarrow=False, align="left", font={"size": _SCREEN_SIZE},
        xref="paper", x=0, xanchor="left", xshift=12 - layout.margin.l, yref="paper", y=0,
        yanchor="top", yshift=-below,
    )  # fmt: skip
    figure.update_layout(
        height=layout.height + extra + below - layout.margin.b,
        margin={"b": below + extra},
        meta=None,
    )
    figure.update_xaxes(automargin=False)
    return figure


def _darkened(figure: go.Figure) -> go.Figure:
    dark = go.Figure(_recoloured(figure.to_dict()))
    if figure.layout.plot_bgcolor is None:
        dark.update_layout(plot_bgcolor=_DARK_PAPER)
    dark.update_layout(
        paper_bgcolor=_DARK_PAPER, font={"color": _DARK[BLACK]}, hoverlabel={"bgcolor": _DARK_GRID}
    )
    axis = {"gridcolor": _DARK_GRID, "linecolor": _DARK[GREY], "tickcolor": _DARK[GREY]}
    for straight in (*dark.select_xaxes(), *dark.select_yaxes()):
        if straight.to_plotly_json():  # a figure of circles has none
            straight.update(**axis)
    for polar in dark.select_polars():
        if polar.to_plotly_json():
            polar.bgcolor = _DARK_PAPER
            polar.radialaxis.gridcolor = polar.angularaxis.gridcolor = _DARK_GRID
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
