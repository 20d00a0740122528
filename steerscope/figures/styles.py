"""Style directions: how alike they are, and how like the attention sink, with it read and without."""

from __future__ import annotations

from itertools import cycle

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
    SKY,
    add_band,
    new_figure,
)

READS = {"mean": "without position 0", "mean+sink": "position 0 in the mean"}
_DIVERGING = "RdBu_r"
_LINES = (BLUE, ORANGE, GREEN, PINK, SKY, BLACK)


@of_literal_text
def style_cosines(table: pd.DataFrame, *, site: str) -> go.Figure:
    """Cosines between styles, and of each with the sink, side by side for the two readings.

    Args:
        table: as `style_report` returns it.
        site: one of its sites.
    """
    rows = table[(table.site == site) & (table.quantity == "cosine")]
    names = list(dict.fromkeys([*rows["style"], *rows.other]))
    names = [n for n in names if n != "sink"] + ["sink"]
    figure = new_figure(f"Cosines between style directions at {site}", "", "")
    for number, (read, words) in enumerate(READS.items()):
        values = _square(rows[rows["read"] == read], names)
        figure.add_trace(
            go.Heatmap(
                x=names,
                y=names,
                z=values,
                xaxis=f"x{number + 1}" if number else "x",
                zmin=-1,
                zmax=1,
                colorscale=_DIVERGING,
                texttemplate="%{z:.2f}",
                showscale=number == 0,
                colorbar={"title": {"text": "cosine", "side": "right"}},
                name=words,
                hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
            )
        )
    axis = {"showgrid": False, "ticks": ""}
    figure.update_layout(
        xaxis={"domain": [0.0, 0.48], "title": READS["mean"], **axis},
        xaxis2={"domain": [0.52, 1.0], "title": READS["mean+sink"], "anchor": "y", **axis},
        yaxis={"autorange": "reversed", **axis},
        width=1000,
        height=480,
    )
    return figure


def _square(rows: pd.DataFrame, names: list[str]) -> list[list[float]]:
    """The cosines as a symmetric matrix with ones on its diagonal."""
    found = {(r.style, r.other): float(r.value) for r in rows.itertuples()}
    found |= {(other, style): value for (style, other), value in found.items()}
    return [[1.0 if a == b else found[a, b] for b in names] for a in names]


@of_literal_text
def sink_leak(table: pd.DataFrame) -> go.Figure:
    """Cosine of each style with the sink direction by layer, the lines full where position 0 is read.

    Args:
        table: as `style_report` returns it, of one stream.
    """
    figure = new_figure(
        "How much of a style is the attention sink", "layer (0-based)", "cosine with the sink"
    )
    rows = table[(table.quantity == "cosine") & (table.other == "sink")]
    for colour, (name, mine) in zip(cycle(_LINES), rows.groupby("style", sort=False)):
        for read, dash in (("mean+sink", "solid"), ("mean", "dot")):
            line = mine[mine["read"] == read].sort_values("layer")
            x, label = line.layer.tolist(), f"{name}, {READS[read]}"
            add_band(figure, x, line.low.tolist(), line.high.tolist(), colour, label)
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=line.value.tolist(),
                    mode="lines+markers",
                    name=label,
                    line={"color": colour, "width": 2.5, "dash": dash},
                )
            )
    for sign, words in ((1, "95 % of random directions stay inside"), (-1, " ")):
        figure.add_hline(
            y=sign * float(rows.null.iloc[0]),
            line={"color": GREY, "width": 1, "dash": "dash"},
            annotation_text=words,
        )
    legend = {"orientation": "v", "x": 1.02, "xanchor": "left", "y": 1.0, "yanchor": "top"}
    figure.update_layout(width=1100, legend=legend)
    figure.update_xaxes(dtick=1)
    figure.update_yaxes(range=[-1.05, 1.05])
    return figure
