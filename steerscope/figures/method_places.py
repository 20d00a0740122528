"""The table of methods and places: effect of each with its interval, beside what nulls reach."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.methods import several
from steerscope.figures.sweeps import effect_title
from steerscope.figures.theme import PANEL, SEQUENTIAL, add_caption, new_figure
from steerscope.judges.effects import Effect
from steerscope.runs.overflows import lost_nulls_in_words
from steerscope.studies.methods.findings import BETWEEN, TOP, UNMATCHED, n_lost_nulls

_ROW, _COLUMN = 30, 118  # pixels
_MARKS = {TOP: " **", BETWEEN: " *"}
_NULLS = "largest null"


@of_literal_text
def method_places(
    ranking: pd.DataFrame, effect: Effect, places: Sequence[str], *, matching: str, words: str
) -> go.Figure:
    """One row per method, one column per place, and last what the strongest null direction reaches.

    Args:
        ranking: one row per place, matching and method with its standing, as `compare_methods` gives it.
        effect: what was measured.
        places: all that were compared, in order.
        matching: a value of the column `matching`.
        words: what is matched.
    """
    rows = ranking[ranking.matching == matching]
    factor = 100.0 if effect.is_share else 1.0
    mine = rows[~rows.null]
    order = list(mine.groupby("method").effect.max().sort_values().index)
    labels = [_NULLS, *(method.replace("_", " ") for method in order)]
    by_key = {(r.method, r.place): r for r in mine.itertuples()}
    strongest = rows.groupby("place").null_max.max().reindex(places)
    tops = {place: factor * float(value) for place, value in strongest.items()}
    values = [[_known(tops[p]) for p in places]]
    said = [["" if math.isnan(tops[p]) else f"{tops[p]:.3g}" for p in places]]
    for method in order:
        cells = [by_key.get((method, place)) for place in places]
        values.append([None if c is None else _known(factor * c.effect) for c in cells])
        said.append([_said(c, factor) for c in cells])
    figure = new_figure(f"Which method at which place? (at matched {words})", "", "")
    figure.add_trace(
        go.Heatmap(
            x=list(places),
            y=labels,
            z=values,
            text=said,
            texttemplate="%{text}",
            textfont={"size": 11},
            colorscale=SEQUENTIAL,
            colorbar={"title": {"text": "%" if effect.is_share else effect.unit, "side": "top"}},
            hovertemplate="%{y} at %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_xaxes(
        title="place (streams, with @ blocks moved together)",
        type="category",
        side="bottom",
        showgrid=False,
    )
    figure.update_yaxes(title="method", type="category", showgrid=False)
    add_caption(figure, _caption(rows, ranking, effect), below=64)
    figure.update_layout(
        plot_bgcolor=PANEL,
        width=max(860, 330 + _COLUMN * len(places)),
        height=290 + _ROW * len(labels),
        margin={"l": 230, "t": 70, "b": 175},
    )
    return figure


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _said(row: object, factor: float) -> str:
    """Effect and interval with the mark of what may be said of it."""
    if row is None:
        return ""
    effect, low, high = (factor * getattr(row, name) for name in ("effect", "low", "high"))
    if math.isnan(effect):
        return "not known"
    return f"{effect:.3g} [{low:.3g}, {high:.3g}]{_MARKS.get(row.standing, '')}"  # type: ignore[attr-defined]


def _caption(rows: pd.DataFrame, ranking: pd.DataFrame, effect: Effect) -> str:
    nulls, n_tests = several(rows.n_nulls), int(ranking.p.notna().sum())
    lost = lost_nulls_in_words(n_lost_nulls(rows), or_else=UNMATCHED)
    return (
        f"{effect_title(effect)}; n = {int(rows.n.max())} held-out items; in brackets 95 % bootstrap over items. * ahead of every one "
        f"of {nulls} null directions of its place, as 1 of {several(1 + rows.n_nulls)} directions at random is, paired sign flips, Holm<br>over {n_tests} "
        "comparisons, p < 0.05; ** and not told from the best of its place (paired, max statistic over all "
        "pairs, p < 0.05).<br>Blocks and doses were chosen on other texts; a place of several is moved by "
        "one relative dose at each. Grey: not reached there, or logits that are not finite."
        f"{f'<br>Of the null directions {lost}.' if lost else ''}"
    )
