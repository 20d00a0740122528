"""Side effects: what steering changes beside what it was asked to change."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.lettering import text_width
from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLACK, BLUE, GREY, ORANGE, new_figure

_ROW, _NAME = 34, 14  # pixels of a row, and of the letters of its name


@of_literal_text
def side_effects(drift: pd.DataFrame, *, condition: str) -> go.Figure:
    """Change of every attribute from plain, one dot each with its interval; 0 is no change.

    Args:
        drift: attribute, on_target, change, low, high, null (in points) and n, as `drift.drift_table`
            gives it.
        condition: of which steering, in words.
    """
    figure = new_figure(
        f"What else changes: {condition}", "change from plain (percentage points)", "attribute"
    )
    for target, colour, name in ((True, ORANGE, "asked for"), (False, BLUE, "not asked for")):
        rows = drift[drift.on_target == target]
        figure.add_trace(
            go.Scatter(
                x=rows.change.tolist(),
                y=rows.attribute.tolist(),
                mode="markers",
                name=name,
                marker={"color": colour, "size": 11},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (rows.high - rows.change).tolist(),
                    "arrayminus": (rows.change - rows.low).tolist(),
                    "color": colour,
                    "thickness": 2,
                    "width": 4,
                },
                customdata=rows[["low", "high", "n"]].to_numpy(float).tolist(),
                hovertemplate="%{y}: %{x:+.1f} points [%{customdata[0]:+.1f}, %{customdata[1]:+.1f}], "
                "n = %{customdata[2]:.0f}<extra></extra>",
            )
        )
    nulls = drift[drift["null"].notna()]
    if len(nulls):
        figure.add_trace(
            go.Scatter(
                x=nulls["null"].tolist(),
                y=nulls.attribute.tolist(),
                mode="markers",
                name="random directions of that length",
                marker={"color": GREY, "symbol": "line-ns-open", "size": 16, "line": {"width": 2}},
                hovertemplate="%{y}: %{x:+.1f} points for random directions<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"color": BLACK, "width": 1, "dash": "dot"})
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=drift.attribute.tolist()[::-1],
        type="category",
    )
    longest = max((text_width(name, _NAME) for name in drift.attribute), default=0)
    figure.update_layout(height=170 + _ROW * len(drift), margin={"t": 90, "l": 60 + longest})
    return figure
