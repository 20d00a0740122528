"""Forest of the methods: effect of each with its interval, against the band of the nulls."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.sweeps import effect_title
from steerscope.figures.theme import BLUE, GREY, ORANGE, SKY, add_caption, new_figure, see_through
from steerscope.judges.effects import Effect
from steerscope.runs.overflows import lost_nulls_in_words
from steerscope.studies.methods.findings import BETWEEN, LOST, NULL, TOP, UNMATCHED, n_lost_nulls

_ROW = 27  # pixels
_COLOURS = {TOP: BLUE, BETWEEN: SKY, LOST: ORANGE, NULL: GREY}
_SYMBOLS = {TOP: "circle", BETWEEN: "circle", LOST: "circle-open", NULL: "x-thin"}


@of_literal_text
def method_forest(
    ranking: pd.DataFrame, effect: Effect, *, place: str, matchings: Mapping[str, str]
) -> go.Figure:
    """One row per method, one panel per matching, against the nulls: most shaded, the last dotted.

    Args:
        ranking: one row per setting and method with its standing, as `compare_methods` gives it.
        effect: what was measured.
        place: of which layers, a value of the column `place`.
        matchings: values of the column `matching`, in order, with what they mean in words.
    """
    rows = ranking[ranking.place == place]
    panels = [rows[rows.matching == name] for name in matchings]
    figure = new_figure(f"Which way to find a direction? ({place})", "", "")
    figure.set_subplots(
        rows=1,
        cols=len(panels),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[f"at matched {words}" for words in matchings.values()],
    )
    factor = 100.0 if effect.is_share else 1.0
    for column, panel in enumerate(panels, start=1):
        _draw_band(figure, panel, factor, column)
        for standing in _COLOURS:
            _draw(figure, panel[panel.standing == standing], standing, factor, column)
    order = panels[0].sort_values(["null", "effect"], ascending=[False, True]).method
    labels = [_label(method) for method in order]
    figure.update_xaxes(
        title=effect_title(effect), ticks="outside", zeroline=False, title_font={"size": 13}
    )
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=labels)
    figure.update_yaxes(title="method", col=1)
    add_caption(figure, _caption(rows, ranking), below=62)
    figure.update_layout(
        width=1040,
        height=250 + _ROW * len(labels),
        margin={"l": 230, "t": 125, "b": 140},
        legend={"x": 0.0, "xanchor": "left", "y": 1.05, "font": {"size": 12}},
        title={"y": 0.975, "yanchor": "top"},
    )
    return figure


def _draw_band(figure: go.Figure, panel: pd.DataFrame, factor: float, column: int) -> None:
    """Shade where most null directions lie, and mark the strongest."""
    first = panel.iloc[0]
    low, high, largest = (
        factor * float(v) for v in (first.null_low, first.null_high, first.null_max)
    )
    place = {"row": 1, "col": column, "layer": "below", "exclude_empty_subplots": False}
    figure.add_vrect(x0=low, x1=high, fillcolor=see_through(GREY, 0.25), line_width=0, **place)
    figure.add_vline(x=largest, line={"color": GREY, "width": 1.5, "dash": "dot"}, **place)


def _draw(figure: go.Figure, rows: pd.DataFrame, standing: str, factor: float, column: int) -> None:
    """The methods of one standing in one panel."""
    if rows.empty:
        return
    colour = _COLOURS[standing]
    figure.add_trace(
        go.Scatter(
            x=(factor * rows.effect).tolist(),
            y=[_label(method) for method in rows.method],
            mode="markers",
            name=standing,
            legendgroup=standing,
            legendrank=list(_COLOURS).index(standing),
            showlegend=standing not in {trace.name for trace in figure.data},
            marker={
                "color": colour,
                "size": 10,
                "symbol": _SYMBOLS[standing],
                "line": {"width": 2, "color": colour},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (factor * (rows.high - rows.effect)).clip(lower=0).tolist(),
                "arrayminus": (factor * (rows.effect - rows.low)).clip(lower=0).tolist(),
                "color": colour,
                "thickness": 1.4,
                "width": 3,
            },
            customdata=rows[["layer", "dose_natural", "kl_nats", "p_holm"]].to_numpy().tolist(),
            hovertemplate=(
                "%{x:.3g} at layer %{customdata[0]}, %{customdata[1]:.2f} natural, "
                "%{customdata[2]:.2f} nats, Holm p %{customdata[3]:.3g}<extra></extra>"
            ),
        ),
        row=1,
        col=column,
    )


def _label(method: str) -> str:
    return method.replace("_", " ")


def several(numbers: pd.Series) -> str:
    """A number that may differ from place to place: `12`, or `8 to 12`."""
    least, most = int(numbers.min()), int(numbers.max())
    return f"{most}" if least == most else f"{least} to {most}"


def _caption(rows: pd.DataFrame, ranking: pd.DataFrame) -> str:
    n_tests = int(ranking.p.notna().sum())
    lost = lost_nulls_in_words(n_lost_nulls(rows), or_else=UNMATCHED)
    more = f" ({lost})" if lost else ""
    return (
        f"n = {int(rows.n.max())} held-out items; bars: 95 % bootstrap over items. Shaded: the middle 95 % of "
        f"{several(rows.n_nulls)} null directions{more}; dotted: the strongest.<br>Above the nulls: beats every "
        f"one of them, as 1 of {several(1 + rows.n_nulls)} directions at random does; paired sign flips, Holm over {n_tests} comparisons, p < 0.05. "
        "Below the best: "
        "paired, max statistic over all pairs, p < 0.05.<br>Layers and doses were chosen on other texts."
    )
