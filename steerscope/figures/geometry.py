"""Cosines between concepts within each model, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import plotly.graph_objects as go
from jaxtyping import Float64
from numpy import ndarray

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLACK, new_figure

_DIVERGING = "RdBu_r"
_PANEL = 330  # pixels
_COLUMNS = 3
_SMALL, _MOST_SMALL = 200, 5  # pixels, and to a row, where groups alone are named
_GAP = 0.05  # of the width or height, between panels


@of_literal_text
def concept_geometry(
    geometries: Mapping[str, Float64[ndarray, "row row"]], *, concepts: Sequence[str], title: str
) -> go.Figure:
    """One square of cosines per model, the concepts in one order.

    Concepts `mood=joyful`, `mood=gloomy` stand under the one name of their group, mood, between lines, so
    that the squares may be small; without groups each has its name.

    Args:
        geometries: matrix of cosines by the name of the model.
        concepts: names of the rows, such as `joyful`, or `mood=joyful` with its group.
        title: what was found, and where the concepts were read.
    """
    figure = new_figure(title, "", "")
    groups = _groups(concepts)
    if groups:
        concepts = [concept.partition("=")[2] for concept in concepts]
    rows = -(-len(geometries) // (_MOST_SMALL if groups else _COLUMNS))
    columns = -(-len(geometries) // rows)
    panel = _PANEL if columns <= _COLUMNS else _SMALL
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
        names: dict[str, Any] = {"showgrid": False, "ticks": ""}
        if groups:
            names |= {"tickvals": [g.middle for g in groups], "ticktext": [g.name for g in groups]}
            figure.update_layout(shapes=[*figure.layout.shapes, *_lines(groups, end)])
        else:
            names |= {"tickfont": {"size": 10}, "dtick": 1}
        across = names | {"domain": _place(column, columns), "anchor": f"y{end}", "tickangle": -90}
        low, high = _place(row, rows)
        down = names | {"domain": [1 - high, 1 - low], "anchor": f"x{end}", "autorange": "reversed"}
        across |= {"showticklabels": lowest, "title": "concept" if lowest else ""}
        down |= {"showticklabels": column == 0, "title": "concept" if column == 0 else ""}
        figure.update_layout({f"xaxis{end}": across, f"yaxis{end}": down})
        figure.add_annotation(
            text=name,
            xref="paper",
            yref="paper",
            x=sum(_place(column, columns)) / 2,
            y=1 - low,
            xanchor="center",
            yanchor="bottom",
            showarrow=False,
        )
    figure.update_layout(
        width=220 + panel * columns,
        height=200 + (0.8 if groups else 1) * panel * rows,
        margin={"l": 150, "b": 120 if groups else 150, "t": 90},
    )
    return figure


@dataclass(frozen=True)
class _Group:
    """Concepts of one variable that stand side by side."""

    name: str
    first: int
    count: int

    @property
    def middle(self) -> float:
        """Where its name stands."""
        return self.first + (self.count - 1) / 2


def _groups(concepts: Sequence[str]) -> list[_Group]:
    """The groups in their order; none where a concept names none."""
    if not all("=" in concept for concept in concepts):
        return []
    found, first = [], 0
    for name, members in groupby(concept.partition("=")[0] for concept in concepts):
        count = len(list(members))
        found.append(_Group(name, first, count))
        first += count
    return found


def _lines(groups: Sequence[_Group], end: str) -> list[dict[str, Any]]:
    """Lines between the groups of a square."""
    line = {"type": "line", "line": {"color": BLACK, "width": 1}}
    lines = []
    for at in (group.first - 0.5 for group in groups[1:]):
        down = {"xref": f"x{end}", "x0": at, "x1": at, "yref": f"y{end} domain", "y0": 0, "y1": 1}
        over = {"yref": f"y{end}", "y0": at, "y1": at, "xref": f"x{end} domain", "x0": 0, "x1": 1}
        lines += [line | down, line | over]
    return lines


def _place(number: int, count: int) -> list[float]:
    """Start and end of a panel in a row or column of panels."""
    size = (1 + _GAP) / count - _GAP
    start = number * (size + _GAP)
    return [start, min(1.0, start + size)]
