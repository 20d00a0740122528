"""How well each head is told by kernel ridge regression, by depth."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLUE, GREY, ORANGE, SKY, add_caption, kept_inside, new_figure

_FLOOR = -1.0
_KERNELS = {
    "exponential": (BLUE, "ridge, exponential kernel"),
    "linear": (ORANGE, "ridge, linear kernel"),
    "smoother": (SKY, "kernel average, no inverse"),
    "mean": (GREY, "mean of the values so far"),
}


@of_literal_text
def ridge_heads(heads: pd.DataFrame, summary: pd.DataFrame) -> go.Figure:
    """R² of every head under each kernel, one column of points a block, those below -1 drawn at -1.

    Args:
        heads: one row per layer, head and kernel, as `head_fits` gives it.
        summary: one row per kernel, as `premise_summary` gives it.
    """
    figure = new_figure(
        "Is attention kernel ridge regression?", "block (number)", "R² of a head's output (ratio)"
    )
    shown = [kernel for kernel in _KERNELS if kernel in set(heads.kernel)]
    for place, kernel in enumerate(shown):
        rows = heads[heads.kernel == kernel]
        colour, words = _KERNELS[kernel]
        shift = 0.16 * (place - (len(shown) - 1) / 2)
        figure.add_trace(
            go.Scatter(
                x=(rows.layer + shift).tolist(),
                **kept_inside(rows.r2, _FLOOR, "y"),
                mode="markers",
                name=words,
                marker={"color": colour, "size": 6, "opacity": 0.75},
                customdata=rows[["layer", "head", "ridge", "r2", "error"]].to_numpy().tolist(),
                hovertemplate=(
                    "block %{customdata[0]}, head %{customdata[1]}: R² %{customdata[3]:.2f}, relative "
                    "error %{customdata[4]:.2f}, λ %{customdata[2]:g}<extra></extra>"
                ),
            )
        )
    for level, dash in ((0.0, "solid"), (0.5, "dot")):
        figure.add_hline(y=level, line={"color": GREY, "width": 1, "dash": dash}, layer="below")
    add_caption(figure, _caption(heads, summary, shown), below=58)
    figure.update_yaxes(range=[_FLOOR - 0.06, 1.05])
    figure.update_layout(
        width=900,
        height=560,
        margin={"t": 105, "b": 165},
        legend={"x": 0.0, "xanchor": "left", "y": 1.02, "font": {"size": 12}},
    )
    return figure


def _caption(heads: pd.DataFrame, summary: pd.DataFrame, shown: list[str]) -> str:
    numbers = {
        r.kernel: f"{r.median_r2:.2f} [{r.median_r2_low:.2f}, {r.median_r2_high:.2f}]"
        for r in summary.dropna(subset="median_r2").itertuples()
    }
    medians = [
        f"{_KERNELS[kernel][1]} {numbers.get(kernel, 'not known')}"
        for kernel in summary.kernel
        if kernel in shown
    ]
    below, lost = int((heads.r2 < _FLOOR).sum()), int(heads.r2.isna().sum())
    but = f" Nothing is known of {lost} more." if lost else ""
    return (
        f"Median over heads (95 % bootstrap over prompts): {'; '.join(medians[:2])};<br>"
        f"{'; '.join(medians[2:])}. n = {int(heads.n_prompts.max())} prompts; λ of each head and kernel was "
        f"chosen on other ones.<br>Dotted: 0.5. {below} points lie below -1 and are drawn there.{but} Queries and "
        "keys are those before any rotation by position."
    )
