"""Gated against ungated steering: what each gate gains at a matched KL."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLACK, BLUE, GREY, new_figure

_ROW = 30  # pixels


@of_literal_text
def gate_comparison(table: pd.DataFrame, *, outcome: str, kl: float) -> go.Figure:
    """Difference of every arm to its ungated reference, paired, with its interval.

    Args:
        table: one row per arm, as `gating.compare_arms` returns it.
        outcome: what was measured, in words, with its unit.
        kl: the matched KL in nats.
    """
    shown = table[table.arm != table.reference]
    figure = new_figure(
        f"Do gates help? All arms at {kl:g} nats from plain",
        f"gated minus ungated: {outcome}<br>95 % bootstrap, n = {int(table.n.max())}",
        "",
    )
    kinds = ((False, BLUE, "gate on the eigengap"), (True, GREY, "control that knows no gap"))
    for null, colour, name in kinds:
        rows = shown[shown.null == null]
        figure.add_trace(
            go.Scatter(
                x=rows.difference.tolist(),
                y=rows.arm.tolist(),
                mode="markers",
                name=name,
                marker={"color": colour, "size": 10},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (rows.difference_high - rows.difference).tolist(),
                    "arrayminus": (rows.difference - rows.difference_low).tolist(),
                    "color": colour,
                    "thickness": 1.4,
                    "width": 3,
                },
                customdata=rows[["effect", "p_holm"]].to_numpy().tolist(),
                hovertemplate="%{x:+.3g} to ungated; effect %{customdata[0]:.3g}, Holm p %{customdata[1]:.3g}<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"color": BLACK, "width": 1, "dash": "dot"})
    figure.update_yaxes(
        categoryorder="array", categoryarray=shown.arm.tolist()[::-1], type="category", title="arm"
    )
    figure.update_layout(height=190 + _ROW * len(shown), margin={"l": 260, "t": 90, "b": 90})
    return figure
