"""Figures of the dose: the fan of all layers' responses, and what each layer does at each dose."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from steerscope.figures.literal import of_literal_text
from steerscope.figures.sweeps import DOSE_TITLE, by_dose_and_layer, dose_label, effect_title
from steerscope.figures.theme import GREEN, GREY, RED, SEQUENTIAL, band, new_figure
from steerscope.judges.effects import Effect

PHASE_COLOURS = {"dead zone": GREY, "effective": GREEN, "collapse": RED}
_DARKEST, _LIGHTEST = (
    0.2,
    0.9,
)  # of the colour scale; beyond, a line is lost on a dark or white page
_LETTERS = {"dead zone": "–", "effective": "●", "collapse": "×"}


@of_literal_text
def dose_fan(
    summary: pd.DataFrame, null: pd.DataFrame, effect: Effect, *, method: str
) -> go.Figure:
    """Effect against dose, a line per layer from dark (first) to light (last), over the null's band.

    Args:
        summary: one row per condition, as `studies.summarise` returns it.
        null: dose_natural, low and high of directions that mean nothing, by dose; may be empty.
        effect: what was measured.
        method: whose layers are drawn.
    """
    figure = new_figure("How the layers answer to the dose", DOSE_TITLE, effect_title(effect))
    factor = 100.0 if effect.is_share else 1.0
    shown = False
    for _, half in null.sort_values("dose_natural").groupby(null.dose_natural > 0):
        low, high = ((factor * half[c]).tolist() for c in ("low", "high"))
        for trace in band(half.dose_natural.tolist(), low, high, GREY, "random directions"):
            figure.add_trace(trace.update(showlegend=not shown, legendgroup="null"))
            shown = True
    rows = summary[summary.method == method]
    layers = sorted(int(layer) for layer in rows.layer.unique())
    colours = sample_colorscale(SEQUENTIAL, [_shade(i / max(1, max(layers))) for i in layers])
    for layer, colour in zip(layers, colours, strict=True):
        line = rows[rows.layer == layer].sort_values("dose_natural")
        for _, half in line.groupby(line.dose_natural > 0):
            figure.add_trace(
                go.Scatter(
                    x=half.dose_natural.tolist(),
                    y=(factor * half.effect).tolist(),
                    mode="lines+markers",
                    name=f"layer {layer}",
                    showlegend=False,
                    line={"color": colour, "width": 2},
                    marker={"size": 5},
                )
            )
    figure.add_trace(_layer_bar(layers))
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    return figure


def _shade(depth: float) -> float:
    """Place on the colour scale of a layer at this share of the depth."""
    return _DARKEST + (_LIGHTEST - _DARKEST) * depth


def _layer_bar(layers: Sequence[int]) -> go.Scatter:
    """A trace without points, for the colour bar that tells the layers apart."""
    shown = sorted({layers[0], layers[len(layers) // 2], layers[-1]}) if len(layers) > 9 else layers
    darkest_to_lightest = sample_colorscale(SEQUENTIAL, [_shade(i / 20) for i in range(21)])
    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        name="layers",
        showlegend=False,
        marker={
            "color": [layers[0]],
            "colorscale": darkest_to_lightest,
            "cmin": 0,
            "cmax": max(1, layers[-1]),
            "showscale": True,
            "colorbar": {
                "title": {"text": "layer (0-based)", "side": "right"},
                "tickvals": list(shown),
                "thickness": 16,
            },
        },
    )


@of_literal_text
def dose_phase_diagram(phases: pd.DataFrame, *, method: str) -> go.Figure:
    """What a dose does at each layer: nothing, steer, or destroy.

    Args:
        phases: layer, dose_natural and phase, as `phases.dose_phases` returns it.
        method: of the direction, for the title.
    """
    names = list(PHASE_COLOURS)
    codes = phases.assign(code=phases.phase.map(names.index))
    grid = by_dose_and_layer(codes, "code")
    doses = [dose_label(dose) for dose in grid.index]
    figure = new_figure(f"Phases of the dose: {method}", "layer (0-based)", DOSE_TITLE)
    figure.add_trace(
        go.Heatmap(
            x=grid.columns.tolist(),
            y=doses,
            z=grid.to_numpy().tolist(),
            text=[[_letter(names, code) for code in row] for row in grid.to_numpy(float)],
            texttemplate="%{text}",
            textfont={"color": "white", "size": 15},
            zmin=-0.5,
            zmax=len(names) - 0.5,
            colorscale=_steps(list(PHASE_COLOURS.values())),
            showscale=False,
            xgap=1,
            ygap=1,
            name="phase",
            hovertemplate="layer %{x}, dose %{y}<extra></extra>",
        )
    )
    for name, colour in PHASE_COLOURS.items():
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="markers",
                name=f"{_LETTERS[name]} {name}",
                marker={"color": colour, "symbol": "square", "size": 12},
            )
        )
    figure.update_xaxes(dtick=1, showgrid=False)
    figure.update_yaxes(type="category", categoryarray=doses, showgrid=False)
    figure.update_layout(height=500)
    return figure


def _letter(names: Sequence[str], code: float) -> str:
    return "" if pd.isna(code) else _LETTERS[names[int(code)]]


def _steps(colours: Sequence[str]) -> list[list[object]]:
    """A colour scale of flat steps."""
    n = len(colours)
    return [[edge / n, c] for i, c in enumerate(colours) for edge in (i, i + 1)]
