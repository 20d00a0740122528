"""Figures of the transfer table: the answer to the coefficient, and techniques at one KL."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, new_figure

_COLOURS = {
    "svd_adapter": BLUE, "mean_diff": ORANGE, "pca_uncentred": PINK, "random": GREY,
    "lora": GREEN, "fine_tuning": RED, "prompting": SKY,
}  # fmt: skip


@of_literal_text
def transfer_responses(table: pd.DataFrame, panels: dict[str, str]) -> go.Figure:
    """Change from plain against the coefficient, one panel per metric, one line per technique.

    Args:
        table: as `transfer_table` returns it.
        panels: titles of the panels by metric, with units.
    """
    across = min(2, len(panels))
    rows = math.ceil(len(panels) / across)
    figure = make_subplots(
        rows=rows,
        cols=across,
        subplot_titles=list(panels.values()),
        horizontal_spacing=0.13,
        vertical_spacing=0.2,
    )
    layout = new_figure("Change from plain, by coefficient", "", "").layout
    figure.update_layout(
        template=layout.template, font=layout.font, title=layout.title, width=430 * across + 20,
        height=195 + 290 * rows, margin={"l": 70, "r": 20, "t": 100, "b": 125},
        legend={"orientation": "h", "y": -0.2 / rows - 0.02, "yanchor": "top", "x": 0.5, "xanchor": "center"},
    )  # fmt: skip
    shown = table[~table.matched.astype(bool) & (table.technique != "plain")]
    for number, metric in enumerate(panels):
        place = {"row": 1 + number // across, "col": 1 + number % across}
        mine = shown[shown.metric == metric]
        for technique, group in mine.groupby("technique", sort=False):
            line = pd.concat(
                [
                    group,
                    pd.DataFrame([{"coefficient": 0.0, "change": 0.0, "low": 0.0, "high": 0.0}]),
                ]
            ).sort_values("coefficient")
            figure.add_trace(
                go.Scatter(
                    x=line.coefficient.tolist(),
                    y=line.change.tolist(),
                    error_y={
                        "array": (line.high - line.change).tolist(),
                        "arrayminus": (line.change - line.low).tolist(),
                        "thickness": 1,
                        "width": 2,
                    },
                    mode="lines+markers",
                    name=str(technique),
                    legendgroup=str(technique),
                    showlegend=number == 0,
                    line={"color": _COLOURS.get(str(technique), BLACK), "width": 2},
                    marker={"size": 6},
                ),
                **place,
            )
        figure.update_xaxes(title="coefficient c", ticks="outside", **place)
        figure.update_yaxes(title=f"change in {panels[metric]}", title_font={"size": 12}, **place)
    figure.update_yaxes(ticks="outside", zeroline=True, zerolinecolor="#BBBBBB")
    return figure


@of_literal_text
def transfer_at_one_kl(gains: pd.DataFrame, *, words: str, kl: float) -> go.Figure:
    """What both signs gain together at a matched KL, one point per technique with its interval.

    Under each technique stands the KL that it came to on the measured prompts.

    Args:
        gains: as `against` returns it.
        words: what is gained, with its unit.
        kl: the matched KL in nats.
    """
    figure = new_figure(
        f"Techniques at a KL of {kl:g} nats", words, "technique, with its KL (nats)"
    )
    order = gains.sort_values("gain")
    figure.add_trace(
        go.Scatter(
            x=order.gain.tolist(),
            y=[
                f"{r.technique}<br><sup>{_kl(r.kl, r.kl_low, r.kl_high)}</sup>"
                for r in order.itertuples()
            ],
            error_x={
                "array": (order.high - order.gain).tolist(),
                "arrayminus": (order.gain - order.low).tolist(),
            },
            mode="markers",
            marker={"size": 11, "color": [_COLOURS.get(t, BLACK) for t in order.technique]},
            showlegend=False,
        )
    )
    figure.add_vline(x=0, line={"color": "#BBBBBB"})
    figure.update_layout(margin={"l": 190}, height=130 + 55 * len(order))
    return figure


def _kl(value: float, low: float, high: float) -> str:
    """A KL as far as it is known."""
    if math.isnan(value):
        return "KL not known"
    return f"{value:.3f}" if math.isnan(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"
