"""Interference: which steerings overlap, and what that does to their effects."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import new_figure

_DIVERGING = "RdBu_r"


@of_literal_text
def interference_gram(table: pd.DataFrame, *, site: str) -> go.Figure:
    """Cosines of the directions, and beside them how far joint effects are from their sums.

    Args:
        table: one row per unordered pair, as `interferences.interference_table` returns it.
        site: where all steer.
    """
    names = list(dict.fromkeys([*table["first"], *table.second]))
    cosines = _square(table, "cosine", names, diagonal=1.0)
    measured = _square(table, "measured", names, diagonal=None)
    largest = float(table.measured.abs().max()) or 1.0
    figure = new_figure(f"Do steerings at {site} interfere?", "", "")
    panels = (
        (cosines, _square_text(table, names, "cosine"), 1.0, "cosine", 0.42),
        (measured, _square_text(table, names, "measured"), largest, "E(a+b) −<br>E(a) − E(b)<br>(nats)", 1.0),
    )  # fmt: skip
    for number, (values, words, extreme, title, right) in enumerate(panels):
        figure.add_trace(
            go.Heatmap(
                x=names,
                y=names,
                z=values,
                text=words,
                texttemplate="%{text}",
                textfont={"size": 12},
                xaxis=f"x{number + 1}" if number else "x",
                yaxis=f"y{number + 1}" if number else "y",
                zmin=-extreme,
                zmax=extreme,
                colorscale=_DIVERGING,
                colorbar={"title": {"text": title, "side": "top"}, "x": right + 0.01},
                name=title.replace("<br>", " "),
                hoverongaps=False,
                hovertemplate="%{y} with %{x}: %{z:.3f}<extra></extra>",
            )
        )
    axis = {"showgrid": False, "ticks": "", "zeroline": False}
    down = {"autorange": "reversed", **axis}
    figure.update_layout(
        xaxis={"domain": [0.0, 0.42], "title": "direction: overlap of the vectors", **axis},
        xaxis2={
            "domain": [0.58, 1.0],
            "title": "direction: interference of the effects",
            "anchor": "y2",
            **axis,
        },
        yaxis={"title": "direction", **down},
        yaxis2={"showticklabels": False, "title": "", "anchor": "x2", "matches": "y", **down},
        width=980,
        height=470,
    )
    return figure


def _pairs(table: pd.DataFrame, column: str) -> dict[tuple[str, str], float]:
    found = {(r["first"], r["second"]): r[column] for r in table.to_dict("records")}
    return found | {(b, a): value for (a, b), value in found.items()}


def _square(
    table: pd.DataFrame, column: str, names: list[str], *, diagonal: float | None
) -> list[list[float | None]]:
    found = _pairs(table, column)
    return [[diagonal if a == b else found.get((a, b)) for b in names] for a in names]


def _square_text(table: pd.DataFrame, names: list[str], column: str) -> list[list[str]]:
    """The number, and for the measured interference its interval and what geometry predicts."""
    value = _pairs(table, column)
    if column == "cosine":
        return [["1" if a == b else f"{value[a, b]:+.2f}" for b in names] for a in names]
    low, high, predicted = (_pairs(table, c) for c in ("low", "high", "predicted"))
    return [
        [
            ""
            if a == b
            else f"{value[a, b]:+.3f}<br>[{low[a, b]:+.3f}, {high[a, b]:+.3f}]"
            f"<br>geometry {predicted[a, b]:+.3f}"
            for b in names
        ]
        for a in names
    ]
