"""Figures of autoencoder features: overlap, diffusion, scores, and what steering by them costs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from steerscope.errors import check_name
from steerscope.figures.lettering import wrapped
from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    RED,
    SKY,
    add_band,
    band,
    new_figure,
    see_through,
)
from steerscope.studies.features.overlap import of_each

NULL_WORDS = {
    "random_direction": ("random direction", GREY),
    "label_shuffled": ("labels shuffled", ORANGE),
    "untrained": ("untrained autoencoder", PINK),
    "permuted_decoder": ("decoder permuted", GREEN),
}
ORDERS = {
    "pursuit": "the features that carry most",
    "codes": "the features whose codes differ most",
}
_LINES = (BLUE, RED, GREEN, PINK, SKY, ORANGE, BLACK)
_BINS = (0.0, 0.05, 0.1, 0.2, 0.4, 1.0)  # of the input score
_FEW = 8  # features of which no median is drawn
_WIDE, _LETTERS = 1000, 17  # pixels
_SYMBOLS = {"plain": "star", "random direction": "x", "random features": "cross"}
_RIGHT = {"orientation": "v", "x": 1.02, "xanchor": "left", "y": 1.0, "yanchor": "top"}


@of_literal_text
def feature_overlap(
    table: pd.DataFrame, *, by: str, title: str = "Shared features", panels: str = ""
) -> go.Figure:
    """Features shared by two sets in each setting, with the band of what chance gives.

    Args:
        table: as `overlap_table` returns it, at one k.
        by: the column that names the settings.
        title: what the sets are.
        panels: a column of which each value has a panel of its own, side by side; none for one.
    """
    k = int(table.k.iloc[0])
    figure = new_figure(f"{title}: {of_each(table)}", "", "")
    parts = [*table.groupby(panels, sort=False)] if panels else [("", table)]
    figure.set_subplots(
        rows=1,
        cols=len(parts),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[str(name) for name, _ in parts] if panels else None,
    )
    for column, (_, part) in enumerate(parts, start=1):
        for trace in _overlap_traces(part, part[by].astype(str).tolist()):
            figure.add_trace(trace.update(showlegend=column == 1), row=1, col=column)
    labels = list(dict.fromkeys(table[by].astype(str)))
    across = [-0.5, max(k, int(table.shared.max())) + 0.5]
    figure.update_xaxes(
        range=across, title="features shared (number)", zeroline=False, ticks="outside"
    )
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=labels[::-1])
    figure.update_yaxes(title=by, col=1)
    longest = max(map(len, labels))
    figure.update_layout(
        height=190 + 30 * len(labels),
        width=860,
        margin={"l": 70 + 7 * longest, "t": 115},
        title={"y": 0.97, "yanchor": "top"},
        legend={"x": 0.0, "xanchor": "left", "y": 1.08 if panels else 1.01},
    )
    return figure


def _overlap_traces(table: pd.DataFrame, labels: list[str]) -> Iterator[go.Scatter]:
    """What chance gives in two ways, and what was found."""
    kinds = (
        ("chance: 95 % of the hypergeometric", "chance_low", "chance_high", GREY, 16),
        ("95 % of features that fire as often", "drawn_low", "drawn_high", ORANGE, 8),
    )
    for name, low, high, colour, width in kinds:
        x: list[float | None] = []
        y: list[str | None] = []
        for row, label in zip(table.itertuples(), labels, strict=True):
            x += [getattr(row, low), getattr(row, high), None]
            y += [label, label, None]
        line = {"color": colour, "width": width}
        yield go.Scatter(
            x=x, y=y, mode="lines", name=name, legendgroup=name, line=line, opacity=0.5
        )
    yield go.Scatter(
        x=table.shared.tolist(),
        y=labels,
        mode="markers",
        name="found",
        legendgroup="found",
        marker={"color": BLUE, "size": 11},
        customdata=table[["p_hypergeometric", "p_permutation", "jaccard"]].to_numpy().tolist(),
        hovertemplate=(
            "%{x} shared, hypergeometric p %{customdata[0]:.2g}, permutation p "
            "%{customdata[1]:.2g}, Jaccard %{customdata[2]:.2f}<extra></extra>"
        ),
    )


@of_literal_text
def jaccard_curve(table: pd.DataFrame, *, title: str = "Overlap over k") -> go.Figure:
    """Jaccard index of two sets against their size, with the band of the null draws.

    Args:
        table: as `overlap_table` returns it, of one setting at several k.
        title: what the sets are.
    """
    rows = table.sort_values("k")
    figure = new_figure(title, "k (features of each set)", "Jaccard index (shared / in either)")
    x = rows.k.tolist()
    words = "95 % of the null draws"
    add_band(figure, x, rows.jaccard_low.tolist(), rows.jaccard_high.tolist(), GREY, words)
    for name, values, colour in (("found", rows.jaccard, BLUE), (words, rows.jaccard_high, GREY)):
        line = {"color": colour, "width": 2.5 if name == "found" else 1}
        figure.add_trace(
            go.Scatter(x=x, y=values.tolist(), mode="lines+markers", name=name, line=line)
        )
    return figure


@of_literal_text
def feature_diffusion(
    curve: pd.DataFrame, *, title: str = "How many features hold it"
) -> go.Figure:
    """Share of a direction's squared norm against the number of features, with the nulls' bands.

    Args:
        curve: as a `Reading` has it.
        title: what was read.
    """
    figure = new_figure(title, "", "")
    figure.set_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.05,
        subplot_titles=list(ORDERS.values()),
    )
    for column, order in enumerate(ORDERS, start=1):
        panel = curve[curve.order == order]
        for null, (name, colour) in NULL_WORDS.items():
            _curve_of(figure, panel[panel.null == null], name, colour, column)
        _curve_of(figure, panel[panel.null == ""], "the direction", BLUE, column)
    figure.update_xaxes(title="number of features", ticks="outside", zeroline=False)
    figure.update_yaxes(range=[0, 102], ticks="outside", zeroline=False)
    figure.update_yaxes(title="share of the squared norm (%)", col=1)
    figure.update_layout(
        width=860,
        height=470,
        margin={"t": 130},
        title={"y": 0.97, "yanchor": "top"},
        legend={"x": 0.0, "xanchor": "left", "y": 1.09},
    )
    return figure


def _curve_of(figure: go.Figure, rows: pd.DataFrame, name: str, colour: str, column: int) -> None:
    """One line of one panel with its band."""
    if rows.empty:
        return
    rows = rows.sort_values("n")
    x, real = rows.n.tolist(), name == "the direction"
    if not real:
        shaded = band(x, (100 * rows.low).tolist(), (100 * rows.high).tolist(), colour, name)
        figure.add_traces(shaded, rows=1, cols=column)
    figure.add_trace(
        go.Scatter(
            x=x,
            y=(100 * rows.share).tolist(),
            mode="lines",
            name=name if real else f"{name} (mean, 95 % band)",
            legendgroup=name,
            legendrank=1 if real else 1000,
            showlegend=not any(t.legendgroup == name for t in figure.data),
            line={"color": colour, "width": 3 if real else 1.6, "dash": "solid" if real else "dot"},
        ),
        row=1,
        col=column,
    )


@of_literal_text
def score_scatter(scores: pd.DataFrame, *, rho: float, p: float) -> go.Figure:
    """Output score against input score; features that never hear their token are counted at the side.

    Args:
        scores: as `feature_scores` returns them.
        rho: rank correlation of the two.
        p: its permutation p.
    """
    silent, heard = scores[scores.input_score <= 0], scores[scores.input_score > 0]
    figure = new_figure(
        f"Input and output score of {len(scores)} features: rank correlation {rho:+.2f}, p {p:.2g}",
        "",
        "output score (0 to 1)",
    )
    figure.add_trace(
        go.Scatter(
            x=heard.input_score.tolist(),
            y=heard.output_score.tolist(),
            mode="markers",
            name="feature",
            xaxis="x2",
            marker={"color": BLUE, "size": 6, "opacity": 0.4},
            customdata=heard.feature.tolist(),
            hovertemplate="feature %{customdata}: %{x:.2f}, %{y:.3f}<extra></extra>",
        )
    )
    figure.add_trace(_medians(heard))
    edges = np.linspace(0, 1, 21)
    counts, _ = np.histogram(silent.output_score, edges)
    figure.add_trace(
        go.Bar(
            x=counts.tolist(),
            y=((edges[:-1] + edges[1:]) / 2).tolist(),
            width=0.045,
            orientation="h",
            name="features of input score 0",
            marker={"color": GREY},
            showlegend=False,
        )
    )
    figure.update_layout(
        xaxis={"domain": [0, 0.2], "title": "features of<br>score 0 (number)"},
        xaxis2={
            **figure.layout.xaxis.to_plotly_json(), "domain": [0.25, 1], "range": [-0.01, 1.03],
            "title": "input score above 0<br>(share of strongest activations at a token it speaks for)",
            "anchor": "y",
        },
    )  # fmt: skip
    figure.update_yaxes(range=[-0.02, 1.02])
    return figure


def _medians(heard: pd.DataFrame) -> go.Scatter:
    """The median output score of features of like input score, with the middle half of them."""
    parts = heard.groupby(pd.cut(heard.input_score, _BINS), observed=True).output_score
    found = parts.quantile([0.25, 0.5, 0.75]).unstack()[parts.size() >= _FEW]
    middle = heard.groupby(pd.cut(heard.input_score, _BINS), observed=True).input_score.median()
    return go.Scatter(
        x=middle[found.index].tolist(),
        y=found[0.5].tolist(),
        mode="lines+markers",
        name="median, middle half",
        xaxis="x2",
        line={"color": RED, "width": 2},
        marker={"size": 9},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (found[0.75] - found[0.5]).tolist(),
            "arrayminus": (found[0.5] - found[0.25]).tolist(),
            "color": RED,
            "thickness": 1.5,
            "width": 4,
        },
    )


@of_literal_text
def steering_pareto(
    table: pd.DataFrame, *, effect: str, cost: str, words: tuple[str, str]
) -> go.Figure:
    """What is gained against what is kept, a panel for each matched KL and a point for each method.

    Args:
        table: as `summarised` returns it.
        effect: metric that is wanted.
        cost: metric that should stay high.
        words: the two in words.

    Raises:
        UnknownNameError: the table has no such metric.
    """
    for metric in (effect, cost):
        check_name("metric", metric, table.metric.unique())
    kls = sorted(table.kl.unique())
    n = int(table.n.max())
    figure = new_figure(
        f"What steering gains and keeps at a matched KL (bars: 95 %, n = {n} prompts)",
        "",
        "",
    )
    figure.set_subplots(
        rows=1, cols=len(kls), shared_yaxes=True, horizontal_spacing=0.03,
        subplot_titles=[f"{kl:g} nats" for kl in kls],
    )  # fmt: skip
    colours = cycle(_LINES)
    named: set[str] = set()
    for method, rows in table.groupby("method", sort=False):
        colour = GREY if str(method).startswith(("random", "plain")) else next(colours)
        name = _group(str(method))
        for column, kl in enumerate(kls, start=1):
            here = rows if method == "plain" else rows[rows.kl == kl]
            x, y = (here[here.metric == metric].head(1) for metric in (effect, cost))
            is_first = bool(len(x)) and name not in named
            named |= {name} if is_first else set()
            figure.add_trace(
                go.Scatter(
                    x=(100 * x.value).tolist(),
                    y=(100 * y.value).tolist(),
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=is_first,
                    marker={"size": 10, "symbol": _SYMBOLS.get(name, "circle"), "color": colour},
                    error_x=_bars(x, colour),
                    error_y=_bars(y, colour),
                    hovertemplate="%{x:.0f} %, %{y:.0f} %",
                ),
                row=1,
                col=column,
            )
    title = wrapped(f"{words[0]} (%)", _LETTERS, _WIDE * 0.75 / len(kls))
    figure.update_xaxes(title=title, matches="x", ticks="outside", zeroline=False)
    figure.update_yaxes(ticks="outside", zeroline=False)
    figure.update_yaxes(title=f"{words[1]} (%)", col=1)
    figure.update_layout(width=_WIDE, height=500, legend=_RIGHT, margin={"t": 90})
    return figure


def _group(method: str) -> str:
    """What a method is called in the legend: of several nulls of one kind, the kind."""
    return next((name for name in _SYMBOLS if method.startswith(f"{name} ")), method)


def _bars(rows: pd.DataFrame, colour: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": (100 * (rows.high - rows.value)).clip(lower=0).tolist(),
        "arrayminus": (100 * (rows.value - rows.low)).clip(lower=0).tolist(),
        "color": see_through(colour, 0.3),
        "thickness": 1,
        "width": 0,
    }
