"""Weight edits in the plane of what they reach and what they cost, with the Pareto front."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    RED,
    SKY,
    kept_inside,
    new_figure,
)
from steerscope.judges.effects import Effect
from steerscope.studies.weights.wording import labels_of

_FAMILIES = (BLUE, GREEN, ORANGE, SKY, RED, PINK)
_TICKS = (0.001, 0.01, 0.1, 1, 10)  # a logarithmic axis writes every digit otherwise
LEAST_DRAWN = 1e-3  # nats; what is below is drawn there


@of_literal_text
def pareto_front(rows: pd.DataFrame, effect: Effect, *, title: str = "") -> go.Figure:
    """The effect against the KL that it costs, one panel for each target.

    A line joins what no other condition beats in that plane. Ringed is what none beats in effect,
    perplexity and, where it is known of all, capability together, which the tables have. A KL below
    `LEAST_DRAWN` is drawn there.

    Args:
        rows: conditions as `front_table` gives them.
        effect: what was measured.
        title: default what the figure shows.
    """
    targets = [t for t in (effect.positive, effect.negative) if (rows.target == t).any()]
    figure = new_figure(title or "What edits of weights reach, and at what KL", "", "")
    figure.set_subplots(
        rows=1,
        cols=len(targets),
        shared_yaxes=True,
        horizontal_spacing=0.05,
        subplot_titles=[f"towards {t}" for t in targets],
    )
    families = {name: _family(name) for name in rows.method.unique()}
    shown = [f for f in dict.fromkeys(families.values()) if f not in _SPECIAL]
    colours = dict(zip(sorted(shown), _FAMILIES * len(shown), strict=False)) | _SPECIAL
    factor, unit = (100.0, "points") if effect.is_share else (1.0, "nats")
    for number, target in enumerate(targets, start=1):
        mine, place = rows[rows.target == target], {"row": 1, "col": number}
        _draw_front(figure, mine, factor, place)
        for family in sorted(colours, key=lambda f: f not in _SPECIAL):
            part = mine[mine.method.map(families) == family]
            _draw(figure, part, (family, colours[family]), (factor, unit), place)
    figure.update_xaxes(
        title="KL from plain (nats)", type="log", tickvals=_TICKS, ticktext=[f"{v:g}" for v in _TICKS],
        ticks="outside",
    )  # fmt: skip
    figure.update_yaxes(title=f"effect ({unit}, minus plain)", ticks="outside", row=1, col=1)
    figure.update_layout(
        width=880,
        height=500,
        margin={"t": 125},
        legend={"x": 0.0, "xanchor": "left", "y": 1.08, "font": {"size": 12}},
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


def _numbers(rows: pd.DataFrame, factor: float) -> list[list[float]]:
    """Of each condition the KL in nats, the ends of its effect and n, for who points at it."""
    ends = {end: factor * rows[end] for end in ("low", "high")}
    return rows.assign(**ends)[["kl_nats", "low", "high", "n"]].to_numpy(float).tolist()


def _draw_front(
    figure: go.Figure, rows: pd.DataFrame, factor: float, place: dict[str, int]
) -> None:
    """A staircase through the conditions that none beats in effect and KL."""
    ordered = rows.iloc[np.lexsort((-rows.effect, rows.kl_nats))]
    best = ordered[ordered.effect > ordered.effect.cummax().shift(fill_value=-np.inf)]
    figure.add_trace(
        go.Scatter(
            **kept_inside(best.kl_nats, LEAST_DRAWN, "x"),
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
    scale: tuple[float, str],
    place: dict[str, int],
) -> None:
    """The conditions of one family in one panel; what is on the front of all costs is ringed."""
    (family, colour), (factor, unit) = kind, scale
    if rows.empty:
        return
    ring = [2.0 if f else (1.5 if family == _CONTROLS else 0.0) for f in rows.front]
    edge = [BLACK if f else colour for f in rows.front]
    figure.add_trace(
        go.Scatter(
            **kept_inside(rows.kl_nats, LEAST_DRAWN, "x"),
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
            text=labels_of(rows),
            customdata=_numbers(rows, factor),
            hovertemplate=(
                f"%{{text}}<br>%{{y:+.3g}} {unit} [%{{customdata[1]:+.3g}}, %{{customdata[2]:+.3g}}], "
                "n = %{customdata[3]:.0f}<br>KL %{customdata[0]:.3g} nats<extra></extra>"
            ),
        ),
        **place,
    )
