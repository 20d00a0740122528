"""The landscape of the activations: a plane, both classes, the path of steering."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLACK, BLUE, ORANGE, new_figure

_AXES = {
    "classes": ("along the difference of the class means", "largest component at right angles"),
    "components": ("principal component 1", "principal component 2"),
}
_CLASSES = (("positive", BLUE, "circle"), ("negative", ORANGE, "diamond"))


@of_literal_text
def activation_landscape(
    points: pd.DataFrame,
    path: pd.DataFrame,
    *,
    explained: Sequence[float],
    site: str,
    axes: str = "classes",
) -> go.Figure:
    """Activations of both classes, and where their mean goes as the dose grows.

    Args:
        points: one row per text with side (`positive`, `negative`), first and second.
        path: one row per dose with dose_natural, first and second, in the order of the doses.
        explained: share of the variance along the first and second axis.
        site: where was read.
        axes: what spans the plane, `classes` or `components`.
    """
    figure = new_figure(
        f"Activations at {site} and the path of steering",
        *(
            f"{words}<br>({100 * share:.0f} % of the variance; activation units)"
            for words, share in zip(_AXES[axes], explained, strict=True)
        ),
    )
    for side, colour, symbol in _CLASSES:
        rows = points[points.side == side]
        figure.add_trace(
            go.Scatter(
                x=rows["first"].tolist(),
                y=rows["second"].tolist(),
                mode="markers",
                name=f"{side} texts",
                marker={"color": colour, "size": 6, "symbol": symbol, "opacity": 0.55},
            )
        )
    figure.add_trace(
        go.Scatter(
            x=path["first"].tolist(),
            y=path["second"].tolist(),
            mode="lines+markers+text",
            name="mean of all texts, steered (dose in natural units)",
            text=_ends([f"{d:+g}" if d else "0" for d in path.dose_natural]),
            textposition="top center",
            textfont={"size": 14, "weight": 700},
            line={"color": BLACK, "width": 2.5},
            marker={"size": 8, "symbol": "arrow", "angleref": "previous", "color": BLACK},
            hovertext=[f"{d:+g} natural" for d in path.dose_natural],
        )
    )
    figure.update_layout(height=580, margin={"l": 100})
    return figure


def _ends(labels: list[str]) -> list[str]:
    """Only the ends and the middle keep their labels; more would run into each other."""
    kept = {0, len(labels) // 2, len(labels) - 1}
    return [label if i in kept else "" for i, label in enumerate(labels)]
