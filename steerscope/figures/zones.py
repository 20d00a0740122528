"""Colours of zones and phases, and a strip of them along the layers."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.theme import BLACK, GREEN, GREY, RED, SKY

ZONE_COLOURS = {"sweet": GREEN, "weak": SKY, "rigid": GREY, "destructive": RED}
_SYMBOLS = {"sweet": "circle", "weak": "circle-open", "rigid": "square", "destructive": "x"}


def add_zones(figure: go.Figure, zones: pd.DataFrame, *, yaxis: str) -> None:
    """One mark per layer in the colour and shape of its zone; unsure ones are ringed in black.

    Args:
        figure: gets one trace per zone that occurs.
        zones: as `diagnostics.layer_zones` returns it: layer, zone, sure.
        yaxis: the axis of the strip, as traces name it ("y2").
    """
    for zone, colour in ZONE_COLOURS.items():
        rows = zones[zones.zone == zone]
        if rows.empty:
            continue
        edges = [0 if sure else 2.5 for sure in rows.sure]
        figure.add_trace(
            go.Scatter(
                x=rows.layer.tolist(),
                y=["zone"] * len(rows),
                yaxis=yaxis,
                mode="markers",
                name=zone,
                marker={
                    "symbol": _SYMBOLS[zone],
                    "size": 13,
                    "color": colour,
                    "line": {"color": BLACK if max(edges) else colour, "width": edges},
                },
                text=[
                    "sure" if sure else "the interval that decides holds its limit"
                    for sure in rows.sure
                ],
                hovertemplate=f"layer %{{x}}: {zone}, %{{text}}<extra></extra>",
            )
        )
