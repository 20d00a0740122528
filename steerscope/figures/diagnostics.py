"""Figures of the diagnostics: eigengaps of the heads, what they predict, tokens of a direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.sweeps import effect_title
from steerscope.figures.theme import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, new_figure
from steerscope.judges.effects import Effect
from steerscope.studies.steering.cheap_number import CheapNumber
from steerscope.studies.steering.responses import Predictor


@of_literal_text
def eigengap_heads(heads: pd.DataFrame) -> go.Figure:
    """Gap of every head with its interval, the weakest link of each layer, and the null.

    Args:
        heads: one row per head with columns layer, head, eigengap, eigengap_low, eigengap_high,
            eigengap_null.
    """
    figure = new_figure(
        "Attention keys: how far one direction leads, per head",
        "layer (0-based), heads side by side",
        "eigengap (λ₁ - λ₂) / λ₁ (ratio)",
    )
    n_heads = heads["head"].max() + 1
    x = heads.layer + (heads["head"] - (n_heads - 1) / 2) * 0.7 / max(1, n_heads)
    weakest = heads.loc[heads.groupby("layer").eigengap.idxmin()]
    figure.add_trace(
        go.Scatter(
            x=x.tolist(),
            y=heads.eigengap.tolist(),
            mode="markers",
            name="head, 95 % interval",
            marker={"color": BLUE, "size": 8},
            # A corrected interval need not hold the value of the sample; its bar then begins beside it.
            error_y={
                "type": "data",
                "symmetric": False,
                "array": (heads.eigengap_high - heads.eigengap).tolist(),
                "arrayminus": (heads.eigengap - heads.eigengap_low).tolist(),
                "color": BLUE,
                "thickness": 1.2,
                "width": 2,
            },
            text=heads["head"].tolist(),
            hovertemplate="head %{text}: %{y:.3f}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=x.tolist(),
            y=heads.eigengap_null.tolist(),
            mode="markers",
            name="random keys of the same lengths",
            marker={"color": GREY, "size": 7, "symbol": "line-ew-open"},
        )
    )
    figure.add_trace(
        go.Scatter(
            x=x[weakest.index].tolist(),
            y=weakest.eigengap.tolist(),
            mode="markers",
            name="weakest link of the layer",
            marker={"color": RED, "size": 15, "symbol": "circle-open", "line": {"width": 2.5}},
        )
    )
    figure.update_xaxes(dtick=1)
    return figure


@of_literal_text
def preference_scatter(found: CheapNumber, effect: Effect) -> go.Figure:
    """What the texts show against what the model prefers, one point a condition."""
    c = found.correlation
    told = f"rank correlation {c.rho:+.2f} {c.interval}, n = {c.n} conditions"
    few = f"no rank correlation of {c.n} condition{'s' * (c.n != 1)}"
    figure = new_figure(
        f"Does the cheap number tell? {few if math.isnan(c.rho) else told}",
        "shift of the preference on held-out pairs (nats)",
        f"{effect.short},<br>change from plain (points)",
    )
    colours = [BLUE, GREY, ORANGE, RED, GREEN, PINK, SKY]
    for number, (method, rows) in enumerate(found.table.groupby("method")):
        figure.add_trace(
            go.Scatter(
                x=rows.preference.tolist(),
                y=(100 * rows.effect).tolist(),
                mode="markers",
                name=str(method),
                marker={"color": colours[number % len(colours)], "size": 8},
                hovertemplate="%{x:+.2f} nats, %{y:+.0f} points<extra></extra>",
            )
        )
    return figure


@of_literal_text
def diagnostic_scatter(predictor: Predictor, effect: Effect, *, x_title: str) -> go.Figure:
    """Effect of each layer against a diagnostic of the layer."""
    c = predictor.correlation
    told = f"rank correlation {c.rho:+.2f} {c.interval}, p = {c.p:.2g}, n = {c.n} layers"
    unknown = f"no rank correlation of {c.n} layers that are alike"
    figure = new_figure(
        f"Does it predict? {unknown if math.isnan(c.rho) else told}",
        x_title,
        effect_title(effect),
    )
    factor = 100.0 if effect.is_share else 1.0
    layers = list(predictor.values)
    figure.add_trace(
        go.Scatter(
            x=[predictor.values[i] for i in layers],
            y=[factor * predictor.effects[i] for i in layers],
            mode="markers+text",
            text=[str(i) for i in layers],
            textposition="top center",
            marker={"color": BLUE, "size": 11},
            name="layer",
            showlegend=False,
            cliponaxis=False,
        )
    )
    return figure


@of_literal_text
def token_effects(
    most: Sequence[dict[str, Any]], least: Sequence[dict[str, Any]], *, site: str
) -> go.Figure:
    """The tokens that a direction speaks for and against, in logits per natural unit."""
    figure = new_figure(
        f"What the direction says: tokens at {site}",
        "change of the logit for one natural unit, mean token = 0 (logits)",
        "",
    )
    bars: list[str] = []
    for tokens, colour, name in ((most, BLUE, "speaks for"), (least, ORANGE, "speaks against")):
        mine = _one_each([f"{t['token']!r}" for t in tokens], bars)
        bars += mine
        figure.add_trace(
            go.Bar(
                x=[t["logit"] for t in tokens],
                y=mine,
                orientation="h",
                marker={"color": colour},
                name=name,
            )
        )
    figure.update_yaxes(autorange="reversed", type="category", title="token")
    figure.update_layout(height=90 + 22 * (len(most) + len(least)), bargap=0.25)
    return figure


def _one_each(labels: Sequence[str], taken: Sequence[str]) -> list[str]:
    """The labels, those that print alike numbered, since bars of one label would be stacked."""
    found: list[str] = []
    for label in labels:
        number = sum(other.split(" (")[0] == label for other in (*taken, *found))
        found.append(f"{label} ({number + 1})" if number else label)
    return found
