"""Cosines between concepts within each model, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float64
from numpy import ndarray

from steerscope.figures.theme import new_figure

_DIVERGING = "RdBu_r"
_PANEL = 330  # pixels
_GAP = 0.02  # of the width, between panels


def concept_geometry(
    geometries: Mapping[str, Float64[ndarray, "row row"]], *, concepts: Sequence[str], title: str
) -> go.Figure:
    """One square of cosines per model, the concepts in one order.

    Args:
        geometries: matrix of cosines by the name of the model.
        concepts: names of the rows.
        title: what was found, and where the concepts were read.
    """
    figure = new_figure(title, "", "")
    width = (1 + _GAP) / len(geometries) - _GAP
    for number, (name, matrix) in enumerate(geometries.items()):
        axis = f"x{number + 1}" if number else "x"
        figure.add_trace(
            go.Heatmap(
                x=list(concepts),
                y=list(concepts),
                z=matrix.tolist(),
                xaxis=axis,
                zmin=-1,
                zmax=1,
                colorscale=_DIVERGING,
                showscale=number == 0,
                colorbar={"title": {"text": "cosine", "side": "right"}},
                name=name,
                hovertemplate="%{y}, %{x}: %{z:.2f}<extra></extra>",
            )
        )
        left = number * (width + _GAP)
        layout = {"domain": [left, min(1.0, left + width)], "title": name, "anchor": "y"}
        figure.update_layout({axis.replace("x", "xaxis"): layout})
    figure.update_xaxes(showgrid=False, ticks="", tickfont={"size": 9}, tickangle=-90, dtick=1)
    figure.update_yaxes(
        title="concept",
        showgrid=False,
        ticks="",
        tickfont={"size": 9},
        dtick=1,
        autorange="reversed",
    )
    figure.update_layout(
        width=220 + _PANEL * len(geometries), height=_PANEL + 200, margin={"l": 150, "b": 150}
    )
    return figure
