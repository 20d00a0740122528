"""The logit lens: what each layer would say at each position."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import SEQUENTIAL, new_figure

_CELL = 30  # pixels
_COLUMN = 62


@of_literal_text
def lens_map(table: pd.DataFrame, *, value: str = "probability") -> go.Figure:
    """Most probable next token at every layer and position, coloured by how far the layer has come.

    Args:
        table: as `lens.lens_table` returns it.
        value: `probability` of that token, or `kl_nats` from the model's own last word.
    """
    titles = {
        "probability": "probability of the token",
        "kl_nats": "KL(final || layer) (nats)",
    }
    grid, words = (
        table.pivot(index="layer", columns="position", values=column)
        for column in (value, "top_token")
    )
    given = table.drop_duplicates("position").set_index("position").token
    figure = new_figure(
        "What each layer would say next", "token read (position, 0 = first)", "layer (0-based)"
    )
    figure.add_trace(
        go.Heatmap(
            x=grid.columns.tolist(),
            y=grid.index.tolist(),
            z=grid.to_numpy().tolist(),
            text=words.to_numpy().tolist(),
            texttemplate="%{text}",
            textfont={"size": 12},
            colorscale=SEQUENTIAL if value == "probability" else f"{SEQUENTIAL}_r",
            colorbar={"title": {"text": titles[value], "side": "right"}},
            name="logit lens",
            hovertemplate="layer %{y}, position %{x}: %{text} %{z:.3f}<extra></extra>",
        )
    )
    figure.update_xaxes(
        tickvals=grid.columns.tolist(),
        ticktext=[f"{given[p]}<br>{p}" for p in grid.columns],
        tickangle=0,
        tickfont={"size": 11},
        showgrid=False,
    )
    figure.update_yaxes(dtick=1, showgrid=False)
    n_layers, n_positions = grid.shape
    figure.update_layout(
        width=220 + _COLUMN * n_positions, height=180 + _CELL * n_layers, margin={"b": 85}
    )
    return figure
