"""One look for every figure: colours that colour-blind readers can tell apart, units on all axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pandas as pd
import plotly.graph_objects as go

# Okabe & Ito 2008
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PINK, GREY, BLACK = "#56B4E9", "#CC79A7", "#8A8A8A", "#222222"
PANEL = "#DDDDDD"  # behind a map with holes

METHOD_COLOURS = {"random": GREY, "label_shuffled": ORANGE}
SEQUENTIAL = "Viridis"
WIDTH, HEIGHT = 820, 460
_BAR = 7  # pixels
_AXIS = {
    "gridcolor": "#EBF0F8", "linecolor": "#EBF0F8", "zeroline": False, "automargin": True, "title": {"standoff": 15},
}  # fmt: skip
# What every figure shares; as small as it is, since it travels with each.
TEMPLATE = go.layout.Template(
    layout={
        "autotypenumbers": "strict", "hovermode": "closest", "paper_bgcolor": "white",
        "plot_bgcolor": "white", "hoverlabel": {"align": "left"}, "xaxis": _AXIS, "yaxis": _AXIS,
    },
    data={"heatmap": [{"type": "heatmap", "colorbar": {"outlinewidth": 0, "ticks": ""}}]},
)  # fmt: skip


def new_figure(title: str, x_title: str, y_title: str) -> go.Figure:
    """An empty figure with titled axes."""
    figure = go.Figure()
    figure.update_layout(
        title={"text": title, "font": {"size": 17}, "x": 0.01, "xanchor": "left"},
        template=TEMPLATE,
        font={"family": "Helvetica, Arial, sans-serif", "size": 14, "color": BLACK},
        width=WIDTH,
        height=HEIGHT,
        margin={"l": 80, "r": 30, "t": 60, "b": 65},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1.0, "xanchor": "right"},
        hoverlabel={"font": {"size": 13}},
    )
    figure.update_xaxes(title=x_title, zeroline=False, ticks="outside")
    figure.update_yaxes(title=y_title, zeroline=False, ticks="outside")
    return figure


def method_colour(method: str) -> str:
    """Colour of a method: controls have their own, all others are blue."""
    return METHOD_COLOURS.get(method, BLUE)


def see_through(colour: str, opacity: float = 0.18) -> str:
    """The same colour as an rgba text."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def add_band(
    figure: go.Figure,
    x: Sequence[float | int],
    low: Sequence[float],
    high: Sequence[float],
    colour: str,
    name: str,
) -> None:
    """A shaded interval, as `band` has it."""
    figure.add_traces(band(x, low, high, colour, name))


def band(
    x: Sequence[float | int], low: Sequence[float], high: Sequence[float], colour: str, name: str
) -> list[go.Scatter]:
    """An interval at every x, shaded where neighbours are known and a bar where one is known alone.

    Args:
        x: in order.
        low: lower ends; NaN where nothing is known.
        high: upper ends, likewise.
        colour: as `see_through` takes it.
        name: of the traces.
    """
    known = [math.isfinite(a) and math.isfinite(b) for a, b in zip(low, high, strict=True)]
    found = []
    for is_known, places in groupby(range(len(x)), key=known.__getitem__):
        part = [*places]
        if is_known:
            outline = ([x[i] for i in part], [low[i] for i in part], [high[i] for i in part])
            found.append(_stretch(*outline, colour, name))
    return found


def _stretch(
    x: Sequence[float | int], low: Sequence[float], high: Sequence[float], colour: str, name: str
) -> go.Scatter:
    """A part of a band without gaps; a polygon of one point has no area, so that its line is drawn."""
    return go.Scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        fill="toself",
        fillcolor=see_through(colour),
        mode="lines",
        line={"width": 0} if len(x) > 1 else {"width": _BAR, "color": see_through(colour, 0.4)},
        hoverinfo="skip",
        name=name,
        showlegend=False,
    )


def kept_inside(values: pd.Series, lowest: float, axis: str) -> dict[str, Any]:
    """What a trace takes for points of which those below an end of the axis are drawn at it.

    Their position alone is moved: the numbers beside the figure have the values themselves.

    Args:
        values: where the points are.
        lowest: where those below are drawn.
        axis: x or y.
    """
    return {axis: values.clip(lower=lowest).tolist(), "meta": {axis: values.tolist()}}


def add_caption(figure: go.Figure, text: str, *, below: float, size: float = 11.5) -> None:
    """Lines of text under the plot, from its left edge, so many pixels below it."""
    figure.add_annotation(
        text=text,
        xref="paper",
        yref="paper",
        x=0,
        y=0,
        yshift=-below,
        xanchor="left",
        yanchor="top",
        align="left",
        showarrow=False,
        font={"size": size},
    )
