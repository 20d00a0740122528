"""Dot plot of lenses: change under steering with its interval, and the threshold of plain text."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLUE, GREY, ORANGE, add_caption, new_figure
from steerscope.studies.lenses.findings import COMMON, DRIFT, RARE, STILL

_ROW = 34  # pixels
_LOOK = {
    DRIFT: (ORANGE, "circle"),
    STILL: (BLUE, "circle"),
    RARE: (GREY, "circle-open"),
    COMMON: (GREY, "diamond-open"),
}


@of_literal_text
def lens_dots(table: pd.DataFrame) -> go.Figure:
    """One row per lens: its change, and between two bars what plain text does by itself.

    Args:
        table: as `drift_of_lenses` gives it.
    """
    rows = table.iloc[::-1]
    figure = new_figure(
        "What else did steering bring in?", "weighted words in 100 (change from plain text)", ""
    )
    for sign in (-1, 1):
        figure.add_trace(
            go.Scatter(
                x=(sign * rows.threshold).tolist(),
                y=rows.lens.tolist(),
                mode="markers",
                name="threshold of plain text",
                showlegend=sign > 0,
                marker={
                    "color": GREY,
                    "symbol": "line-ns",
                    "size": 16,
                    "line": {"width": 2, "color": GREY},
                },
            )
        )
    for name, (colour, symbol) in _LOOK.items():
        part = rows[(rows.says == name) & rows.change.notna()]
        if part.empty:
            continue
        figure.add_trace(
            go.Scatter(
                x=part.change.tolist(),
                y=part.lens.tolist(),
                mode="markers",
                name=name,
                marker={"color": colour, "symbol": symbol, "size": 11},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (part.high - part.change).clip(lower=0).tolist(),
                    "arrayminus": (part.change - part.low).clip(lower=0).tolist(),
                    "color": colour,
                },
            )
        )
    figure.update_yaxes(title="attribute", type="category", categoryarray=rows.lens.tolist())
    n, why = int(table.n.max()), "; ".join(dict.fromkeys(table.says[table.n == 0]))
    known = f"n = {n} prompts; bars: 95 %." if n else f"{why[:1].upper()}{why[1:]}."
    said = (
        f"{known} Words are weighted by "
        "their rarity in plain text.<br>Thresholds: what 95 % of the changes between two plain samples "
        "stay below in all lenses at once."
    )
    add_caption(figure, said, below=58)
    figure.update_layout(
        height=260 + _ROW * len(rows), margin={"l": 180, "t": 100, "b": 140},
        legend={"x": 0.0, "xanchor": "left", "y": 1.02},
    )  # fmt: skip
    return figure
