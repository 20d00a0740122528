"""Weight edits in the plane of what they reach and what they cost, with the Pareto front."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, new_figure
from steerscope.judges.effects import Effect

_FAMILIES = (BLUE, GREEN, ORANGE, SKY, RED, PINK)
_COSTS = (
    ("perplexity_ratio", "perplexity over plain (ratio)", "log"),
    ("capability_change", "capability, minus plain (points)", "linear"),
    ("kl_nats", "KL from plain (nats)", "log"),
)
_TICKS = {
    "perplexity_ratio": (1, 1.5, 2, 3, 5, 10, 20),
    "kl_nats": (0.001, 0.01, 0.1, 1, 10),
}  # a logarithmic axis writes every digit otherwise
_EDGES = {
    "perplexity_ratio": (None, 20.0),
    "kl_nats": (1e-3, None),
}  # what is beyond is drawn there


@of_literal_text
def pareto_front(rows: pd.DataFrame, effect: Effect, *, title: str = "") -> go.Figure:
    """One row of panels per target: the effect against perplexity, capability and KL.

    In each panel a line joins what no other condition beats in that plane. Capability has no panel
    where it was not measured for all conditions.

    Args:
        rows: conditions as `front_table` gives them.
        effect: what was measured.
        title: default what the figure shows.
    """
    targets = [t for t in (effect.positive, effect.negative) if (rows.target == t).any()]
    figure = new_figure(title or "What edits of weights reach, and what they cost", "", "")
    costs = [cost for cost in _COSTS if rows[cost[0]].notna().all()]
    figure.set_subplots(
        rows=len(targets),
        cols=len(costs),
        shared_yaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.16,
        subplot_titles=[f"towards {t}" for t in targets for _ in costs],
    )
    families = {name: _family(name) for name in rows.method.unique()}
    shown = [f for f in dict.fromkeys(families.values()) if f not in _SPECIAL]
    colours = dict(zip(sorted(shown), _FAMILIES * len(shown), strict=False)) | _SPECIAL
    factor, unit = (100.0, "points") if effect.is_share else (1.0, "nats")
    for number, target in enumerate(targets, start=1):
        mine = rows[rows.target == target]
        for column, (cost, words, scale) in enumerate(costs, start=1):
            place = {"row": number, "col": column}
            _draw_front(figure, mine, cost, factor, place)
            for family in sorted(colours, key=lambda f: f not in _SPECIAL):
                part = mine[mine.method.map(families) == family]
                _draw(figure, part, (family, colours[family]), cost, factor, place)
            values = _TICKS.get(cost)
            ticks = {"tickvals": values, "ticktext": [f"{v:g}" for v in values]} if values else {}
            figure.update_xaxes(title=words, type=scale, **ticks, **place)
        figure.update_yaxes(title=f"effect ({unit}, minus plain)", row=number, col=1)
    figure.update_layout(
        width=880,
        height=150 + 370 * len(targets),
        margin={"t": 125},
        legend={"x": 0.0, "xanchor": "left", "y": 1.06, "font": {"size": 12}},
        title={"y": 0.975, "yanchor": "top"},
    )
    return figure


_CONTROLS, _STEERING = "controls", "mean difference (steering)"
_SPECIAL = {_CONTROLS: GREY, _STEERING: BLACK}
_SYMBOLS = {_CONTROLS: "x-thin", _STEERING: "star"}


def _family(method: str) -> str:
    if " of " in method:
        return _CONTROLS
    return _STEERING if method == "mean_diff" else method


def _x(rows: pd.DataFrame, cost: str) -> list[float]:
    if cost == "capability_change":
        return (100 * rows[cost]).tolist()
    return rows[cost].clip(*_EDGES[cost]).tolist()


def _draw_front(
    figure: go.Figure, rows: pd.DataFrame, cost: str, factor: float, place: dict[str, int]
) -> None:
    """A staircase through the conditions that none beats in effect and this cost."""
    sign = -1 if cost == "capability_change" else 1
    ordered = rows.iloc[np.lexsort((-rows.effect, sign * rows[cost]))]
    best = ordered[ordered.effect > ordered.effect.cummax().shift(fill_value=-np.inf)]
    figure.add_trace(
        go.Scatter(
            x=_x(best, cost),
            y=(factor * best.effect).tolist(),
            mode="lines",
            line={"color": BLACK, "width": 1.2, "dash": "dot", "shape": "hv"},
            name="front of the plane",
            legendgroup="front",
            showlegend=place == {"row": 1, "col": 1},
            hoverinfo="skip",
        ),
        **place,
    )


def _draw(
    figure: go.Figure,
    rows: pd.DataFrame,
    kind: tuple[str, str],
    cost: str,
    factor: float,
    place: dict[str, int],
) -> None:
    """The conditions of one family in one panel; what is on the front of all three is ringed."""
    family, colour = kind
    if rows.empty:
        return
    ring = [2.0 if f else (1.5 if family == _CONTROLS else 0.0) for f in rows.front]
    edge = [BLACK if f else colour for f in rows.front]
    figure.add_trace(
        go.Scatter(
            x=_x(rows, cost),
            y=(factor * rows.effect).tolist(),
            mode="markers",
            name=family,
            legendgroup=family,
            showlegend=family not in {trace.name for trace in figure.data},
            marker={
                "color": colour,
                "size": 13 if family == _STEERING else 8,
                "symbol": _SYMBOLS.get(family, "circle"),
                "line": {"width": ring, "color": edge},
            },
            error_y={
                "type": "data",
                "symmetric": False,
                "array": (factor * (rows.high - rows.effect)).clip(lower=0).tolist(),
                "arrayminus": (factor * (rows.effect - rows.low)).clip(lower=0).tolist(),
                "color": colour,
                "thickness": 0.7,
                "width": 0,
            },
            text=rows.cell.tolist(),
            hovertemplate="%{text}<br>%{y:.1f} at %{x:.3g}<extra></extra>",
        ),
        **place,
    )
