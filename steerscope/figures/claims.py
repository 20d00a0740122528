"""The board of claims: the number that decided each, its interval, its threshold, its verdict."""

from __future__ import annotations

import math
from textwrap import wrap

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Int

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLACK, BLUE, GREY, ORANGE, RED, add_caption, new_figure
from steerscope.runs.digits import edges_of, in_digits, with_ends

_LOOK = {
    "supported": (BLUE, "circle"),
    "refuted": (RED, "x"),
    "inconclusive": (ORANGE, "diamond"),
    "open": (GREY, "circle-open"),
}
_NEAR_ONE = {  # units of about the same scale, which share a panel
    "share": "difference of shares",
    "rho": "rank correlation over layers",
    "share of features": "share of features",
    "R²": "R²",
    "gap": "gap",
    "AUC over chance": "AUC minus 1/2",
    "": "",  # nobody measured it yet
}
_OTHERS = {"features": "features (number)"}
_ROW, _GAP, _TOP, _BOTTOM = 58, 80, 120, 100  # pixels; a row is higher where its label needs it
_LABEL, _LINE, _BETWEEN = 56, 19, 14  # characters of a line, its pixels, and those between labels
_CAPTION = (
    "Bars are 95 % intervals of what was measured for each claim alone; p after Holm allows for the number of "
    "claims.<br>A verdict is about the models and concepts in brackets and no others."
)


@of_literal_text
def claims_board(board: pd.DataFrame) -> go.Figure:
    """One row per claim, by verdict: value and 95 % interval, threshold as a line, verdict at the right.

    Numbers of features, nats and the like have panels with scales of their own, below the others.

    Args:
        board: as `claims.board` returns it.
    """
    order = {name: place for place, name in enumerate(_LOOK)}
    rows = board.sort_values("verdict", key=lambda v: v.map(order), kind="stable")
    near = rows.unit.isin(_NEAR_ONE)
    panels = [(_titled(rows[near]), rows[near])] if near.any() else []
    panels += [(_OTHERS.get(u, u), part) for u, part in rows[~near].groupby("unit", sort=False)]
    figure = new_figure("What was claimed, and what the models show that were measured", "", "")
    row = max(_ROW, _LINE * max(map(_n_lines, rows.itertuples()), default=0) + _BETWEEN)
    whole = _TOP + _BOTTOM + 30 + row * len(rows) + _GAP * (len(panels) - 1)
    inside = whole - _TOP - _BOTTOM
    figure.set_subplots(
        rows=len(panels),
        cols=1,
        row_heights=[len(part) for _, part in panels],
        vertical_spacing=_GAP / inside,
    )
    named: set[str] = set()
    for number, (title, part) in enumerate(panels, start=1):
        _panel(figure, number, part.reset_index(drop=True), rows.verdict[rows.value.notna()], named)
        figure.update_xaxes(title=title, ticks="outside", row=number, col=1)
    if near.any():
        figure.update_xaxes(range=_range(rows[near]), row=1, col=1)
    figure.update_layout(
        width=1180,
        height=whole,
        margin={"l": 450, "r": 210, "t": _TOP, "b": _BOTTOM},
        legend={"x": 0.0, "xanchor": "left"},
        title={"y": 1.0, "yanchor": "top", "pad": {"t": 16}},  # above the two lines of the legend
    )
    add_caption(figure, _CAPTION, below=62)
    return figure


def _label(row: object) -> list[str]:
    """The lines beside a claim."""
    return wrap(_bounded(row), _LABEL)


def _n_lines(row: object) -> int:
    return len(_label(row))


def _titled(rows: pd.DataFrame) -> str:
    """The units of the numbers in a panel."""
    there = set(rows.unit)
    units = ", ".join(words for unit, words in _NEAR_ONE.items() if words and unit in there)
    return f"{units} (number of the claim)"


def _range(rows: pd.DataFrame) -> list[float]:
    """From -1 to 1, and as far as an interval or a threshold reaches."""
    drawn = rows[rows.value.notna()]
    sides = [-drawn.threshold[drawn.direction == "within"], drawn.threshold]
    ends = pd.concat([*sides, drawn.value, drawn.low, drawn.high]).to_numpy(float)
    ends = np.append(ends[np.isfinite(ends)], [-1.0, 1.0])
    return [1.05 * float(ends.min()), 1.05 * float(ends.max())]


def _panel(
    figure: go.Figure, number: int, rows: pd.DataFrame, verdicts: pd.Series, named: set[str]
) -> None:
    """The claims that share a scale; `named` are the entries that the legend has by now."""
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
                name=f"{verdict} ({(verdicts == verdict).sum()})",
                legendgroup=verdict,
                showlegend=verdict not in named,
                customdata=part[["claim", "test"]],
                hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>%{x:.3f}<extra></extra>",
            ),
            row=number,
            col=1,
        )
        named.add(verdict)
    _thresholds(figure, number, rows, height, named)
    for place, row in zip(height, rows.itertuples(), strict=True):
        _said(figure, number, int(place), str(row.verdict), _numbers(row))
    line = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_vline(x=0, line=line, row=number, col=1)
    figure.update_yaxes(
        tickvals=height,
        ticktext=["<br>".join(_label(row)) for row in rows.itertuples()],
        range=[-0.6, len(rows) - 0.4],
        ticks="",
        zeroline=False,
        title="claim",
        row=number,
        col=1,
    )


def _thresholds(
    figure: go.Figure,
    number: int,
    rows: pd.DataFrame,
    height: Int[np.ndarray, " row"],
    named: set[str],
) -> None:
    """The threshold that each test states, on its row; `within` has one on either side."""
    marks = [
        (sign * row.threshold, place)
        for place, row in zip(height, rows.itertuples(), strict=True)
        if row.value == row.value  # noqa: PLR0124 - NaN while open
        for sign in ((1, -1) if row.direction == "within" else (1,))
    ]
    if marks:
        name = "threshold of the test"
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in marks],
                y=[y for _, y in marks],
                mode="markers",
                marker={"symbol": "line-ns", "size": 22, "line": {"color": BLACK, "width": 1.5}},
                name=name,
                legendgroup=name,
                showlegend=name not in named,
                hoverinfo="skip",
            ),
            row=number,
            col=1,
        )
        named.add(name)


def _said(figure: go.Figure, number: int, place: int, verdict: str, numbers: str) -> None:
    colour = _LOOK[verdict][0]
    figure.add_annotation(
        x=1.01,
        xref="paper",
        xanchor="left",
        y=place,
        yref="y" if number == 1 else f"y{number}",
        text=f'<b style="color:{colour}">{verdict}</b><br>{numbers}',
        align="left",
        showarrow=False,
        font={"size": 11.5, "color": BLACK},
    )


def _bounded(row: object) -> str:
    """The claim with what it was measured on, which is all that its verdict is about."""
    asked = ("words", "model", "concept", "unknown")
    words, model, concept, unknown = (getattr(row, name, "") for name in asked)
    but = f"; nothing known of {unknown}" if unknown else ""
    return f"{words} [{model}: {concept}{but}]" if model else str(words)


def _numbers(row: object) -> str:
    value, low, high = (getattr(row, name) for name in ("value", "low", "high"))
    if value != value:  # noqa: PLR0124 - NaN
        unusable = str(getattr(row, "evidence", "")).startswith("evidence")
        is_open = getattr(row, "verdict", "open") == "open" and not unusable
        return "no runs yet" if is_open else "not known"
    n, items = getattr(row, "n", 0), getattr(row, "items", "")
    edges = edges_of(getattr(row, "direction", ""), getattr(row, "threshold", math.nan))
    bounded = not math.isnan(low)
    shown = with_ends(value, low, high, "+.2f", edges) if bounded else ""
    said = f"{shown or in_digits(value, '+.2f', edges) + ' (no interval)'}, n = {n} {items}"
    p_holm = getattr(row, "p_holm", float("nan"))
    return said if p_holm != p_holm else f"{said}<br>p = {p_holm:.2g} after Holm"  # noqa: PLR0124
