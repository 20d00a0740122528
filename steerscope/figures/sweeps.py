"""Figures of a sweep: effect by layer, effect by layer and dose, effect by dose, KL by depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from steerscope.figures.lettering import wrapped
from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PANEL,
    RED,
    SEQUENTIAL,
    add_band,
    method_colour,
    new_figure,
)
from steerscope.figures.zones import add_zones
from steerscope.judges.effects import Effect
from steerscope.studies.steering.choice import SweetSpot

DOSE_TITLE = "dose (natural units = distances of the class means)"
DOSE_TITLES = {
    "natural": DOSE_TITLE,
    "relative": "dose (relative: share of a typical activation)",
    "absolute": "dose (absolute: length of what is added)",
}
_DECADES = 100.0  # from the least KL to the largest: within less, ticks at 2 and 5 as well
_LIGHT, _DARK = 0.35, 0.85  # of the colour scale of ordered doses, readable on white


def effect_title(effect: Effect) -> str:
    """Axis title of the effect with its unit."""
    if effect.is_share:
        return f"{effect.short} (%)"
    return "shift of the log-odds along the dose (nats)"


def _scaled(effect: Effect, values: pd.Series) -> list[float]:
    return (values * (100.0 if effect.is_share else 1.0)).tolist()


@of_literal_text
def layer_sweep(
    summary: pd.DataFrame, effect: Effect, *, method: str, dose: float, unit: str = "natural"
) -> go.Figure:
    """Effect at each layer at one dose, both signs, with the random directions beside it.

    The band of a method is its interval; that of several random directions reaches from the lowest to the
    highest of them. At a layer where nothing is known of one of them no level of random directions is drawn.

    Args:
        summary: one row per condition, as `studies.summarise` returns it.
        effect: what was measured.
        method: whose conditions.
        dose: at which layers are compared.
        unit: of the dose: natural, relative or absolute.
    """
    figure = new_figure(
        f"Which layer: {method} at a dose of {dose:g} {unit}",
        "layer (0-based)",
        effect_title(effect),
    )
    kinds = (
        (method, dose, BLUE, f"+{dose:g}: towards {effect.positive}", "solid"),
        (method, -dose, GREEN, f"-{dose:g}: towards {effect.negative}", "dash"),
        ("random", dose, GREY, f"+{dose:g}: random directions", "dot"),
    )
    for name, at, colour, label, dash in kinds:
        rows = summary[
            (summary.method == name) & np.isclose(summary[f"dose_{unit}"], at, rtol=1e-5)
        ]
        if rows.empty:
            continue
        means = _of_layers(rows)
        x = means.layer.tolist()
        low, high = _scaled(effect, means.low), _scaled(effect, means.high)
        add_band(figure, x, low, high, colour, label)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=_scaled(effect, means.effect),
                mode="lines+markers",
                name=label,
                line={"color": colour, "width": 2.5, "dash": dash},
            )
        )
    figure.update_xaxes(dtick=1, range=_across(summary))
    return figure


def _across(summary: pd.DataFrame) -> list[float] | None:
    """The ends of an axis of layers; what steers several at once has no place on it."""
    layers = summary.layer[summary.layer >= 0]
    return [layers.min() - 0.5, layers.max() + 0.5] if len(layers) else None


def _of_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """Layer, effect, low and high: of several directions at a layer their mean, lowest and highest."""
    found = []
    for layer, mine in rows.groupby("layer"):
        effects = mine.effect
        ends = (mine.low, mine.high) if len(mine) == 1 else (effects, effects)
        low, high = ends[0].min(skipna=False), ends[1].max(skipna=False)
        found.append((layer, effects.mean(skipna=False), low, high))
    return pd.DataFrame(found, columns=["layer", "effect", "low", "high"])


def dose_label(dose: float) -> str:
    """A dose as an axis of doses has it; whoever points at a cell of a map is told this."""
    return f"{round(dose, 4):+g}"


def by_dose_and_layer(rows: pd.DataFrame, column: str, unit: str = "natural") -> pd.DataFrame:
    """One column of conditions as a map, a row for each dose and a column for each layer.

    Doses that are the same but for rounding, as those of two layers may be, are one row. A layer between
    two others that was not measured has an empty column, so that its neighbours do not fill its place.
    """
    labelled = rows.assign(dose=rows[f"dose_{unit}"].round(6))
    grid = labelled.pivot(index="dose", columns="layer", values=column).sort_index()
    if grid.empty:
        return grid
    return grid.reindex(columns=range(int(grid.columns.min()), int(grid.columns.max()) + 1))


@of_literal_text
def sweet_spot_map(
    summary: pd.DataFrame,
    effect: Effect,
    *,
    method: str,
    chosen: SweetSpot,
    unit: str = "natural",
    zones: pd.DataFrame | None = None,
    texts: Mapping[str, str] | None = None,
) -> go.Figure:
    """Effect at every layer and dose; crosses where a limit is broken, a ring at the choice.

    Args:
        summary: one row per condition, as `studies.summarise` returns it.
        effect: what was measured.
        method: whose conditions.
        chosen: the choice.
        unit: of the doses: natural, relative or absolute.
        zones: layer, zone and sure, for a strip above the map; None for no strip.
        texts: by the key of a condition, a text written under it, to show where one points.
    """
    rows = summary[summary.method == method]
    grid = by_dose_and_layer(rows, "effect", unit) * (100.0 if effect.is_share else 1.0)
    doses = [dose_label(dose) for dose in grid.index]
    figure = new_figure(
        "Where and how hard: effect, and where the text breaks",
        "layer (0-based)",
        DOSE_TITLES[unit],
    )
    figure.add_trace(
        go.Heatmap(
            x=grid.columns.tolist(),
            y=doses,
            z=grid.to_numpy().tolist(),
            colorscale=SEQUENTIAL,
            colorbar={"title": {"text": effect_title(effect), "side": "right"}},
            text=_words_of(rows, effect, texts or {}, unit),
            hovertemplate=f"layer %{{x}}, dose %{{y}} {unit}<br>%{{text}}<extra></extra>",
        )
    )
    _mark(figure, rows[rows.broken], chosen, unit)
    figure.update_layout(plot_bgcolor=PANEL, height=520)
    figure.update_xaxes(dtick=1, showgrid=False)
    figure.update_yaxes(
        type="category", categoryarray=doses, range=[-0.5, len(doses) - 0.5], showgrid=False
    )
    figure.update_xaxes(range=[grid.columns.min() - 0.5, grid.columns.max() + 0.5])
    if zones is not None:
        _add_strip(figure, zones)
    return figure


def _words_of(
    rows: pd.DataFrame, effect: Effect, texts: Mapping[str, str], unit: str
) -> list[list[str]]:
    """What is said of each cell: effect with interval and n, KL, broken limits, a text."""
    factor, of = (100.0, "%") if effect.is_share else (1.0, "nats")

    def words(row: Any) -> str:
        known, passed = row.effect == row.effect, row.kl_nats == row.kl_nats
        ends = f" [{factor * row.low:.1f}, {factor * row.high:.1f}]" if row.low == row.low else ""
        why = "no text could be read" if passed else "logits are not finite"
        said = [
            f"{factor * row.effect:.1f} {of}{ends}, n = {row.n}" if known else f"not known: {why}"
        ]
        said += [f"KL {row.kl_nats:.3g} nats per position"] if passed else []
        said += [f"over the limit: {row.over}"] if row.over else []
        return "<br>".join(
            [*said, *([wrapped(texts[row.cell], 13, 420)] if row.cell in texts else [])]
        )

    said = rows.assign(words=[words(row) for row in rows.itertuples()])
    grid = by_dose_and_layer(said, "words", unit).astype(object)
    return grid.where(grid.notna(), "not measured").to_numpy().tolist()


def _mark(figure: go.Figure, broken: pd.DataFrame, chosen: SweetSpot, unit: str) -> None:
    """Crosses where a limit is broken, and a ring around the choice."""
    if len(broken):
        outline = {"width": 1.2, "color": "black"}
        figure.add_trace(
            go.Scatter(
                x=broken.layer.tolist(),
                y=[dose_label(dose) for dose in broken[f"dose_{unit}"]],
                mode="markers",
                marker={"symbol": "x", "size": 11, "color": "white", "line": outline},
                name="a limit is broken or unknown",
                text=broken.over.tolist(),
                hovertemplate="layer %{x}, dose %{y}: over the limit of %{text}<extra></extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[chosen.layer],
            y=[dose_label(getattr(chosen, f"dose_{unit}"))],
            mode="markers",
            marker={"symbol": "circle-open", "size": 26, "color": RED, "line": {"width": 4}},
            cliponaxis=False,  # whole also at the last layer
            name="chosen",
        )
    )


def _add_strip(figure: go.Figure, zones: pd.DataFrame) -> None:
    """The zone of every layer above the map."""
    figure.update_layout(
        yaxis={"domain": [0.0, 0.87]},
        yaxis2={"domain": [0.9, 1.0], "showgrid": False, "anchor": "x", "title": ""},
        height=570,
    )
    add_zones(figure, zones, yaxis="y2")


@of_literal_text
def dose_response(curves: pd.DataFrame, effect: Effect, *, layer: int) -> go.Figure:
    """Effect against dose at one layer: the method with its interval, controls with their seeds.

    Dotted is the plain model on the prompts of either sign.

    Args:
        curves: as `responses.dose_response` returns it.
        effect: what was measured.
        layer: of the curves, for the title.
    """
    figure = new_figure(
        f"How much: dose and effect at layer {layer}", DOSE_TITLE, effect_title(effect)
    )
    for method, rows in curves.groupby("method", sort=False):
        colour = method_colour(str(method))
        control = rows.n_seeds.max() > 1
        bounds = ("lowest_seed", "highest_seed") if control else ("low", "high")
        label = f"{method} ({int(rows.n_seeds.max())} seeds)" if control else str(method)
        first = True
        for _, half in rows.groupby(rows.dose_natural > 0):
            low, high = (_scaled(effect, half[b]) for b in bounds)
            add_band(figure, half.dose_natural.tolist(), low, high, colour, label)
            figure.add_trace(
                go.Scatter(
                    x=half.dose_natural.tolist(),
                    y=_scaled(effect, half.effect),
                    mode="lines+markers",
                    name=label,
                    legendgroup=label,
                    showlegend=first,
                    line={"color": colour, "width": 2 if control else 3},
                )
            )
            first = False
    _add_plain(figure, curves, effect)
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    return figure


def _add_plain(figure: go.Figure, curves: pd.DataFrame, effect: Effect) -> None:
    """The plain model on the prompts of each sign, from dose 0 to the last of that sign."""
    for first, (is_positive, half) in enumerate(curves.groupby(curves.dose_natural > 0)):
        level = _scaled(effect, pd.Series([half.plain.mean()]))[0]
        end = half.dose_natural.max() if is_positive else half.dose_natural.min()
        figure.add_trace(
            go.Scatter(
                x=sorted([0.0, float(end)]),
                y=[level, level],
                mode="lines",
                name="plain",
                legendgroup="plain",
                showlegend=not first,
                line={"color": BLACK, "width": 1, "dash": "dot"},
            )
        )


@of_literal_text
def kl_by_depth(summary: pd.DataFrame, *, method: str, unit: str = "natural") -> go.Figure:
    """KL from the plain model against layer, one line for each dose towards positive.

    The axis is logarithmic, but for KL that are all 0, as where no position of a prompt is steered.

    Args:
        summary: one row per condition, as `studies.summarise` returns it.
        method: whose conditions.
        unit: of the doses: natural, relative or absolute.
    """
    figure = new_figure(
        "What it costs: distance from the plain model",
        "layer (0-based)",
        "KL(steered || plain) (nats per position)",
    )
    rows = summary[(summary.method == method) & (summary.dose_natural > 0)]
    lines = [*rows.groupby(rows[f"dose_{unit}"].round(4))]
    shades = [_LIGHT + (_DARK - _LIGHT) * i / max(1, len(lines) - 1) for i in range(len(lines))]
    for colour, (dose, line) in zip(sample_colorscale("Blues", shades), lines, strict=True):
        line = line.sort_values("layer")
        figure.add_trace(
            go.Scatter(
                x=line.layer.tolist(),
                y=line.kl_nats.tolist(),
                mode="lines+markers",
                name=f"+{dose:g} {unit}",
                line={"color": colour, "width": 2.5},
                customdata=line.n.tolist(),
                hovertemplate=f"layer %{{x}}, +{dose:g} {unit}: %{{y:.3g}} nats, n = %{{customdata}}"
                "<extra></extra>",
            )
        )
    figure.update_xaxes(dtick=1, range=_across(summary))
    seen = rows.kl_nats[rows.kl_nats > 0]
    if len(seen):
        few = seen.max() < _DECADES * seen.min()
        figure.update_yaxes(type="log", dtick="D2" if few else 1, tickformat="~g")
    return figure
