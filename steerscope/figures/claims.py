"""The board of claims: the number that decided each, its interval, its threshold, its verdict."""

from __future__ import annotations

from textwrap import wrap

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Int

from steerscope.figures.theme import BLACK, BLUE, GREY, ORANGE, RED, new_figure

_LOOK = {
    "supported": (BLUE, "circle"),
    "refuted": (RED, "x"),
    "inconclusive": (ORANGE, "diamond"),
    "open": (GREY, "circle-open"),
}
_ROW = 44  # pixels
_LABEL = 56  # characters of a line


def claims_board(board: pd.DataFrame) -> go.Figure:
    """One row per claim, by verdict: value and 95 % interval, threshold as a line, verdict at the right.

    Args:
        board: as `claims.board` returns it; values are differences of shares or rank correlations.
    """
    order = {name: place for place, name in enumerate(_LOOK)}
    rows = board.sort_values(
        "verdict", key=lambda v: v.map(order), kind="stable", ignore_index=True
    )
    figure = new_figure(
        "What was claimed, and what the bundled model shows",
        "difference of shares (0 to 1), or rank correlation over layers (-1 to 1)",
        "",
    )
    height = len(rows) - 1 - rows.index.to_numpy()
    for verdict, (colour, symbol) in _LOOK.items():
        here = (rows.verdict == verdict) & rows.value.notna()  # no point that nobody measured
        if not here.any():
            continue
        part = rows[here]
        figure.add_trace(
            go.Scatter(
                x=part.value.tolist(),
                y=height[here].tolist(),
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (part.high - part.value).tolist(),
                    "arrayminus": (part.value - part.low).tolist(),
                },
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 12},
                name=f"{verdict} ({len(part)})",
                customdata=part[["claim", "test"]],
                hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>%{x:.3f}<extra></extra>",
            )
        )
    _thresholds(figure, rows, height)
    for place, row in zip(height, rows.itertuples(), strict=True):
        _said(figure, int(place), str(row.verdict), _numbers(row), _LOOK[str(row.verdict)][0])
    figure.add_vline(x=0, line={"color": GREY, "width": 1, "dash": "dot"})
    labels = ["<br>".join(wrap(words, _LABEL)) for words in rows.words]
    figure.update_yaxes(
        tickvals=height, ticktext=labels, range=[-0.6, len(rows) - 0.4], ticks="", title="claim"
    )
    figure.update_xaxes(range=[-1.05, 1.05])
    figure.update_layout(
        width=1180,
        height=190 + _ROW * len(rows),
        margin={"l": 450, "r": 210, "t": 95, "b": 65},
        legend={"x": 0.0, "xanchor": "left"},
    )
    return figure


def _thresholds(figure: go.Figure, rows: pd.DataFrame, height: Int[np.ndarray, " row"]) -> None:
    """The threshold that each test states, on its row; `within` has one on either side."""
    marks = [
        (sign * row.threshold, place)
        for place, row in zip(height, rows.itertuples(), strict=True)
        if row.value == row.value  # noqa: PLR0124 - NaN while open
        for sign in ((1, -1) if row.direction == "within" else (1,))
    ]
    if marks:
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in marks],
                y=[y for _, y in marks],
                mode="markers",
                marker={"symbol": "line-ns", "size": 22, "line": {"color": BLACK, "width": 1.5}},
                name="threshold, stated beforehand",
                hoverinfo="skip",
            )
        )


def _said(figure: go.Figure, place: int, verdict: str, numbers: str, colour: str) -> None:
    figure.add_annotation(
        x=1.01,
        xref="paper",
        xanchor="left",
        y=place,
        text=f'<b style="color:{colour}">{verdict}</b><br>{numbers}',
        align="left",
        showarrow=False,
        font={"size": 11.5, "color": BLACK},
    )


def _numbers(row: object) -> str:
    value, low, high = (getattr(row, name) for name in ("value", "low", "high"))
    if value != value:  # noqa: PLR0124 - NaN
        return "no runs yet"
    n, items = getattr(row, "n", 0), getattr(row, "items", "")
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}], n = {n} {items}"
