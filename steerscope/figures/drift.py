"""Drift: what steering changes beside what it was asked to change."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLACK, BLUE, GREY, ORANGE, new_figure, see_through

_STEP = 20.0  # points
_CIRCLE = [float(angle) for angle in range(0, 361, 5)]  # degrees


@of_literal_text
def drift_radar(drift: pd.DataFrame, *, condition: str) -> go.Figure:
    """Change of every attribute from plain, in percentage points; the circle at 0 is plain.

    Args:
        drift: attribute, on_target, change, low, high and null (in points), as `drift.drift_table`
            gives it.
        condition: of which steering, in words.
    """
    figure = new_figure(f"What else changes: {condition}", "", "")
    drift = drift.assign(angle=[360 * i / len(drift) for i in range(len(drift))])
    _trace(figure, _CIRCLE, [0.0] * len(_CIRCLE), "plain: no change", BLACK, "dot")
    around = [*drift.angle, 360.0]
    if drift["null"].notna().any():
        null = [*drift["null"], drift["null"].iloc[0]]
        _trace(figure, around, null, "random directions of that length", GREY, "dash")
    change = [*drift.change, drift.change.iloc[0]]
    _trace(figure, around, change, "steered", see_through(BLUE, 0.6), "solid")
    for target, colour, name in ((True, ORANGE, "asked for"), (False, BLUE, "not asked for")):
        _spokes(figure, drift[drift.on_target == target], colour, name)
    lowest = _STEP * (min(drift.low.min(), -1.0) // _STEP)
    highest = _STEP * (drift.high.max() // _STEP + 1)
    figure.update_layout(
        polar={
            "domain": {"x": [0.0, 0.62]},
            "radialaxis": {
                "range": [lowest, highest],
                "dtick": _STEP,
                # Between two spokes at the bottom, away from what was asked for.
                "angle": 90 - 360 * (len(drift) // 2 + 0.5) / len(drift),
                "tickangle": 0,
                "showline": False,
                "tickfont": {"size": 11},
                "gridcolor": see_through(GREY, 0.4),
            },
            "angularaxis": {
                "tickvals": drift.angle.tolist(),
                "ticktext": drift.attribute.tolist(),
                "direction": "clockwise",
                "rotation": 90,
                "gridcolor": see_through(GREY, 0.4),
            },
        },
        height=480,
        margin={"t": 80, "l": 90, "r": 10, "b": 50},
        legend={
            "orientation": "v", "x": 0.76, "xanchor": "left", "y": 0.95, "yanchor": "top",
            "title": {"text": "outwards: change from plain<br>(percentage points)"},
        },
    )  # fmt: skip
    figure.layout.xaxis, figure.layout.yaxis = None, None
    return figure


def _trace(
    figure: go.Figure,
    angles: Sequence[float],
    radii: Sequence[float],
    name: str,
    colour: str,
    dash: str,
) -> None:
    """A closed line around the middle."""
    figure.add_trace(
        go.Scatterpolar(
            theta=angles,
            r=radii,
            mode="lines",
            name=name,
            line={"color": colour, "width": 2, "dash": dash},
            hoverinfo="skip",
        )
    )


def _spokes(figure: go.Figure, rows: pd.DataFrame, colour: str, name: str) -> None:
    """A mark for every attribute and a bar along its spoke for the interval."""
    for row in rows.itertuples():
        figure.add_trace(
            go.Scatterpolar(
                theta=[row.angle, row.angle],
                r=[row.low, row.high],
                mode="lines",
                name=f"{row.attribute}: interval",
                showlegend=False,
                line={"color": colour, "width": 4},
                hoverinfo="skip",
            )
        )
    figure.add_trace(
        go.Scatterpolar(
            theta=rows.angle.tolist(),
            r=rows.change.tolist(),
            mode="markers",
            marker={"color": colour, "size": 11},
            name=f"{name}, 95 % interval",
            text=rows.attribute.tolist(),
            hovertemplate="%{text}: %{r:+.1f} points<extra></extra>",
        )
    )
