"""Drift: what steering changes beside what it was asked to change."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.theme import BLACK, BLUE, GREY, ORANGE, new_figure, see_through

_STEP = 20.0  # points


def drift_radar(drift: pd.DataFrame, *, condition: str) -> go.Figure:
    """Change of every attribute from plain, in percentage points; the circle at 0 is plain.

    Args:
        drift: attribute, on_target, change, low, high and null (in points), as `drift.drift_table` gives it.
        condition: of which steering, in words.
    """
    figure = new_figure(f"What else changes: {condition}", "", "")
    names = drift.attribute.tolist()
    around = [*names, names[0]]
    change, low, high = ([*drift[c], drift[c].iloc[0]] for c in ("change", "low", "high"))
    figure.add_trace(
        go.Scatterpolar(
            theta=[*around, *reversed(around)],
            r=[*high, *reversed(low)],
            fill="toself",
            fillcolor=see_through(BLUE, 0.25),
            mode="lines",
            line={"width": 0},
            name="95 % interval",
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatterpolar(
            theta=around, r=change, mode="lines", line={"color": BLUE, "width": 2}, name="steered",
            showlegend=False,
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatterpolar(
            theta=around,
            r=[0.0] * len(around),
            mode="lines",
            line={"color": BLACK, "width": 2, "dash": "dot"},
            name="plain (no change)",
        )
    )
    if drift["null"].notna().any():
        figure.add_trace(
            go.Scatterpolar(
                theta=around,
                r=[*drift["null"], drift["null"].iloc[0]],
                mode="lines",
                line={"color": GREY, "width": 2, "dash": "dash"},
                name="random directions of that length",
            )
        )
    for target, colour, name in ((True, ORANGE, "asked for"), (False, BLUE, "not asked for")):
        rows = drift[drift.on_target == target]
        figure.add_trace(
            go.Scatterpolar(
                theta=rows.attribute.tolist(),
                r=rows.change.tolist(),
                mode="markers",
                marker={"color": colour, "size": 11},
                name=name,
                hovertemplate="%{theta}: %{r:+.1f} points<extra></extra>",
            )
        )
    lowest = min(-_STEP, _STEP * (min(low) // _STEP))
    highest = _STEP * (max(high) // _STEP + 1)
    figure.update_layout(
        polar={
            "radialaxis": {
                "range": [lowest, highest],
                "dtick": _STEP,
                "title": {"text": "change from plain (points)"},
                "angle": 90,
                "tickangle": 90,
                "tickfont": {"size": 11},
                "gridcolor": see_through(GREY, 0.4),
            },
            "angularaxis": {
                "direction": "clockwise",
                "rotation": 90 + 180 / max(1, len(names)),
                "gridcolor": see_through(GREY, 0.4),
            },
        },
        height=560,
        margin={"t": 110, "l": 110, "r": 110, "b": 50},
    )
    figure.layout.xaxis, figure.layout.yaxis = None, None
    return figure
