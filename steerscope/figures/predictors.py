"""League table of the diagnostics: which of them ranks layers as measured steerability does."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLUE, GREY, ORANGE, new_figure
from steerscope.studies.predictors.thresholds import Threshold

_ROW = 30  # pixels


@of_literal_text
def predictor_league(league: pd.DataFrame, *, outcome: str) -> go.Figure:
    """Rank correlation of every diagnostic with steerability, with interval and partial correlation.

    Args:
        league: one row per diagnostic, as `predictors.predictor_league` returns it, best first.
        outcome: what was predicted, in words.
    """
    found = league.dropna(subset="rho")
    n_points, n_layers, n_groups = (
        int(league[c].max()) for c in ("n_points", "n_layers", "n_groups")
    )
    figure = new_figure(
        f"Who predicts {outcome}?",
        f"Spearman's ρ over layers (95 % interval)<br>n = {n_points} points: "
        f"{n_layers} layers, {n_groups} model-concept group{'s' * (n_groups > 1)}",
        "",
    )
    for sure, colour, name in (
        (True, BLUE, "corrected p < 0.05 (Holm)"),
        (False, GREY, "not distinguishable from chance"),
    ):
        rows = found[(found.p_holm < 0.05) == sure]
        figure.add_trace(
            go.Scatter(
                x=rows.rho.tolist(),
                y=[_label(r) for r in rows.itertuples()],
                mode="markers",
                name=name,
                marker={"color": colour, "size": 10},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (rows.high - rows.rho).clip(lower=0).tolist(),
                    "arrayminus": (rows.rho - rows.low).clip(lower=0).tolist(),
                    "color": colour,
                    "thickness": 1.4,
                    "width": 3,
                },
                customdata=rows[["p", "p_holm", "q_bh"]].to_numpy().tolist(),
                hovertemplate=(
                    "ρ %{x:+.2f}, p %{customdata[0]:.3g}, Holm %{customdata[1]:.3g}, "
                    "BH %{customdata[2]:.3g}<extra></extra>"
                ),
            )
        )
    partial = found.dropna(subset="partial_rho")
    figure.add_trace(
        go.Scatter(
            x=partial.partial_rho.tolist(),
            y=[_label(r) for r in partial.itertuples()],
            mode="markers",
            name="depth and norm held fixed",
            marker={"color": ORANGE, "size": 9, "symbol": "diamond-open", "line": {"width": 2}},
        )
    )
    figure.add_vline(x=0, line={"color": GREY, "width": 1, "dash": "dot"})
    labels = [_label(r) for r in found.itertuples()]
    figure.update_xaxes(range=[-1.05, 1.05])
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=labels[::-1],
        type="category",
        title="diagnostic (sign stated beforehand)",
    )
    figure.update_layout(height=205 + _ROW * len(labels), margin={"l": 230, "t": 125})
    return figure


def _label(row: object) -> str:
    """Name of the diagnostic, with the sign that was stated beforehand."""
    sign = {1: " (+)", -1: " (−)"}.get(getattr(row, "expected_sign", 0), "")
    words = str(getattr(row, "diagnostic", "")).split("_")
    return " ".join("KL" if word == "kl" else word for word in words) + sign


@of_literal_text
def threshold_roc(curve: pd.DataFrame, found: Threshold) -> go.Figure:
    """Sensitivity against false positives of every threshold of a diagnostic, the published one marked.

    Args:
        curve: as `roc_curve` gives it.
        found: as `judge_threshold` gives it.
    """
    figure = new_figure(
        f"Does {found.diagnostic.replace('_', ' ')} tell which layers can be steered?",
        f"layers below {100 * found.share:.0f} % of the best that are marked (share)",
        "layers above it that are marked (share)",
    )
    for x, y, name, colour, dash in (
        (curve.false_positives, curve.sensitivity, "every threshold", BLUE, "solid"),
        ([0, 1], [0, 1], "chance", GREY, "dot"),
    ):
        figure.add_trace(
            go.Scatter(
                x=list(x), y=list(y), mode="lines", name=name, line={"color": colour, "dash": dash}
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[1 - found.specificity],
            y=[found.sensitivity],
            mode="markers",
            name=f"at most {found.threshold:g}",
            marker={"color": ORANGE, "size": 12, "symbol": "diamond"},
        )
    )
    figure.update_layout(width=560, height=520, legend={"y": 1.0})
    return figure
