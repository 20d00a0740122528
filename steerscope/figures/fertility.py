"""How tokenizers cut texts of each kind, side by side."""

from __future__ import annotations

from itertools import cycle

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLUE, GREEN, ORANGE, PINK, SKY, new_figure

MEASURES = {
    "tokens_per_word": ("Tokens per word", "tokens per word"),
    "characters_per_token": ("Characters per token", "characters per token"),
    "bytes_per_token": ("Bytes per token", "bytes per token (UTF-8)"),
    "unit_tokens": ("Tokens of one number, date or timestamp", "tokens of one"),
}


@of_literal_text
def tokenizer_bars(table: pd.DataFrame, measure: str) -> go.Figure:
    """One measure of every tokenizer on every kind of text; kinds without a number have no bar.

    Args:
        table: with the columns tokenizer, kind and the measure.
        measure: a name in `MEASURES`.
    """
    title, axis = MEASURES[measure]
    figure = new_figure(title, "texts (by kind)", axis)
    rows = table[table[measure].notna()]
    for name, colour in zip(
        rows.tokenizer.unique(), cycle((BLUE, ORANGE, GREEN, PINK, SKY)), strict=False
    ):
        mine = rows[rows.tokenizer == name]
        figure.add_trace(
            go.Bar(
                x=list(mine.kind),
                y=list(mine[measure]),
                name=name,
                marker_color=colour,
                hovertemplate="%{x}: %{y:.2f}<extra></extra>",
            )
        )
    figure.update_layout(barmode="group", showlegend=True)
    return figure
