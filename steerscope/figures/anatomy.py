"""Layer anatomy: lengths, separation, stability and zone of every layer in one strip."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLUE, GREEN, ORANGE, band, new_figure
from steerscope.figures.zones import add_zones

_PANELS = (
    ("norm", "mean length<br>(activation units)", BLUE),
    ("separation", "separation<br>(relative units)", ORANGE),
    ("stability", "stability of halves<br>(cosine)", GREEN),
)
_ZONE_SHARE, _GAP = 0.08, 0.055


@of_literal_text
def layer_anatomy(anatomy: pd.DataFrame, zones: pd.DataFrame | None, *, site: str) -> go.Figure:
    """Aligned panels over the layers, one per quantity, with the zones below.

    Args:
        anatomy: layer, and for norm, separation and stability the value with `_low` and `_high`.
        zones: layer, zone and sure; None without a sweep.
        site: the stream and the token read, in words.
    """
    figure = new_figure(f"Anatomy of the layers: {site}", "layer (0-based)", "")
    bottom = 0.0 if zones is None else _ZONE_SHARE + _GAP
    height = (1 - bottom - _GAP * (len(_PANELS) - 1)) / len(_PANELS)
    layers = anatomy.layer.tolist()
    for number, (name, title, colour) in enumerate(_PANELS):
        start = bottom + (len(_PANELS) - 1 - number) * (height + _GAP)
        axis = "y" if number == 0 else f"y{number + 1}"
        low, high = (anatomy[f"{name}_{end}"].tolist() for end in ("low", "high"))
        shaded = band(layers, low, high, colour, name)
        figure.add_traces([trace.update(yaxis=axis) for trace in shaded])
        figure.add_trace(
            go.Scatter(
                x=layers,
                y=anatomy[name].tolist(),
                yaxis=axis,
                mode="lines+markers",
                name=name,
                showlegend=False,
                line={"color": colour, "width": 2.5},
            )
        )
        figure.update_layout(
            {
                axis.replace("y", "yaxis"): {
                    "domain": [start, start + height],
                    "title": {"text": title, "font": {"size": 12}},
                    "zeroline": False,
                    "ticks": "outside",
                    "nticks": 5,
                    "rangemode": "tozero",
                    "anchor": "x",
                }
            }
        )
    if zones is not None:
        add_zones(figure, zones, yaxis="y9")
        figure.update_layout(
            yaxis9={"domain": [0.0, _ZONE_SHARE], "showgrid": False, "title": "", "anchor": "x"}
        )
    figure.update_xaxes(
        dtick=1,
        anchor="y3" if zones is None else "y9",
        range=[min(layers) - 0.5, max(layers) + 0.5],
    )
    figure.update_layout(height=640, margin={"l": 95})
    return figure
