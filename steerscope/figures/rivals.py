"""Steering and its rivals on one chart: what each does, against what it damages."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, new_figure

_COLOURS = (BLUE, RED, PINK, GREEN, ORANGE, SKY, GREY)
_SYMBOLS = ("circle", "star", "diamond", "square", "triangle-up", "cross", "x")


@of_literal_text
def effect_and_damage(rows: pd.DataFrame, *, effect: str, title: str = "") -> go.Figure:
    """Every condition as a point: share of texts with the effect, against share of damaged texts.

    The best place is above on the left. Doses of one way of steering are joined in their order.

    Args:
        rows: `kind`, `name`, `effect`, `low`, `high`, `damaged`, `damaged_low` and `damaged_high`, shares
            from 0 to 1; conditions of a kind in the order of their dose. The kind `plain` is the model
            itself.
        effect: what counts as an effect, in words.
        title: default what the figure shows.
    """
    figure = new_figure(
        title or "What each way does, and what it damages",
        "texts damaged (%)",
        f"{effect} (%)",
    )
    kinds = [kind for kind in dict.fromkeys(rows.kind) if kind != "plain"]
    looks = {  # of two kinds with one colour the symbols differ
        kind: (_COLOURS[i % 7], _SYMBOLS[(i + i // 7) % 7]) for i, kind in enumerate(kinds)
    }
    looks["plain"] = (BLACK, "circle-open")
    for kind, (colour, symbol) in looks.items():
        mine = rows[rows.kind == kind]
        if mine.empty:
            continue
        figure.add_trace(
            go.Scatter(
                x=(100 * mine.damaged).tolist(),
                y=(100 * mine.effect).tolist(),
                mode="lines+markers+text" if len(mine) > 1 else "markers+text",
                name=kind,
                text=mine.name.tolist() if "name" in mine else None,
                textposition="top center",
                textfont={"size": 10, "color": colour},
                line={"color": colour, "width": 1.2, "dash": "dot"},
                marker={"color": colour, "symbol": symbol, "size": 11},
                error_y=_bars(100 * mine.effect, 100 * mine.low, 100 * mine.high, colour),
                error_x=_bars(
                    100 * mine.damaged, 100 * mine.damaged_low, 100 * mine.damaged_high, colour
                ),
                hovertemplate="%{text}<br>effect %{y:.1f} %, damaged %{x:.1f} %<extra></extra>",
            )
        )
    figure.update_layout(
        width=860,
        height=640,
        margin={"t": 120},
        legend={"x": 0.0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "font": {"size": 11}},
        title={"y": 0.975, "yanchor": "top"},
    )
    figure.update_xaxes(range=[-4, 104])
    figure.update_yaxes(range=[-4, 110])
    return figure


def _bars(values: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": (high - values).clip(lower=0).tolist(),
        "arrayminus": (values - low).clip(lower=0).tolist(),
        "color": colour,
        "thickness": 0.7,
        "width": 0,
    }
