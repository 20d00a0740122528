"""Cosines between concepts within each model, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float64
from numpy import ndarray

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import new_figure

_DIVERGING = "RdBu_r"
_PANEL = 330  # pixels
_COLUMNS = 3
_GAP = 0.05  # of the width or height, between panels


@of_literal_text
def concept_geometry(
    geometries: Mapping[str, Float64[ndarray, "row row"]], *, concepts: Sequence[str], title: str
) -> go.Figure:
    """One square of cosines per model, three to a row, the concepts in one order.

    Args:
        geometries: matrix of cosines by the name of the model.
        concepts: names of the rows; of `mood=joyful` and its like, what stands behind the sign.
        title: what was found, and where the concepts were read.
    """
    figure = new_figure(title, "", "")
    if all("=" in concept for concept in concepts):
        concepts = [concept.partition("=")[2] for concept in concepts]
    columns = min(_COLUMNS, len(geometries))
    rows = -(-len(geometries) // columns)
    for number, (name, matrix) in enumerate(geometries.items()):
        row, column = divmod(number, columns)
        end = str(number + 1) if number else ""
        figure.add_trace(
            go.Heatmap(
                x=list(concepts),
                y=list(concepts),
                z=matrix.tolist(),
                xaxis=f"x{end}",
                yaxis=f"y{end}",
                zmin=-1,
                zmax=1,
                colorscale=_DIVERGING,
                showscale=number == 0,
                colorbar={"title": {"text": "cosine", "side": "top"}},
                name=name,
                hovertemplate="%{y}, %{x}: %{z:.2f}<extra></extra>",
            )
        )
        lowest = number + columns >= len(geometries)  # no panel below
        names = {"showgrid": False, "ticks": "", "tickfont": {"size": 10}, "dtick": 1}
        across = names | {"domain": _place(column, columns), "anchor": f"y{end}", "tickangle": -90}
        low, high = _place(row, rows)
        down = names | {"domain": [1 - high, 1 - low], "anchor": f"x{end}", "autorange": "reversed"}
        across |= {"showticklabels": lowest, "title": "concept" if lowest else ""}
        down |= {"showticklabels": column == 0, "title": "concept" if column == 0 else ""}
        figure.update_layout({f"xaxis{end}": across, f"yaxis{end}": down})
        figure.add_annotation(
            text=name,
            xref=f"x{end} domain",
            yref=f"y{end} domain",
            x=0.5,
            y=1,
            yanchor="bottom",
            showarrow=False,
        )
    figure.update_layout(
        width=220 + _PANEL * columns,
        height=200 + _PANEL * rows,
        margin={"l": 150, "b": 150, "t": 90},
    )
    return figure


def _place(number: int, count: int) -> list[float]:
    """Start and end of a panel in a row or column of panels."""
    size = (1 + _GAP) / count - _GAP
    start = number * (size + _GAP)
    return [start, min(1.0, start + size)]
