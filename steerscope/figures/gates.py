"""Gated against ungated steering: what each gate gains at a matched KL."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from steerscope.figures.literal import of_literal_text
from steerscope.figures.theme import BLACK, BLUE, GREY, new_figure

_ROW = 30  # pixels
_NUMBERED, _FEWEST = r"^(.*) #\d+$", 3  # draws of a control, and how many make a band


@of_literal_text
def gate_comparison(table: pd.DataFrame, *, outcome: str, kl: float) -> go.Figure:
    """Difference of every arm to its ungated reference, paired, with its interval.

    Draws of a control, numbered arms such as `layers of large gap, gaps of other sites #3`, are one row: from the lowest of
    their differences to the highest, with the middle one marked.

    Args:
        table: one row per arm, as `gating.compare_arms` returns it.
        outcome: what was measured, in words, with its unit.
        kl: the matched KL in nats.
    """
    compared = table[table.arm != table.reference]
    numbered = compared.arm.str.extract(_NUMBERED, expand=False)
    many = numbered.where(numbered.groupby(numbered).transform("size") >= _FEWEST)
    shown, placed = compared[many.isna()], compared[many.notna()].assign(group=many)
    figure = new_figure(
        f"Do gates help? All arms at {kl:g} nats from plain",
        f"gated minus ungated<br>{outcome}<br>bars: 95 %, n = {int(table.n.max())}",
        "",
    )
    kinds = ((False, BLUE, "gate on the eigengap"), (True, GREY, "control that knows no gap"))
    for null, colour, name in kinds:
        rows = shown[shown.null == null]
        figure.add_trace(
            go.Scatter(
                x=rows.difference.tolist(),
                y=rows.arm.tolist(),
                mode="markers",
                name=name,
                marker={"color": colour, "size": 10},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (rows.difference_high - rows.difference).tolist(),
                    "arrayminus": (rows.difference - rows.difference_low).tolist(),
                    "color": colour,
                    "thickness": 1.4,
                    "width": 3,
                },
                customdata=rows[["effect", "p_holm"]].to_numpy().tolist(),
                hovertemplate="%{x:+.3g} to ungated; effect %{customdata[0]:.3g}, Holm p %{customdata[1]:.3g}<extra></extra>",
            )
        )
    _draw_placements(figure, _placements(placed))
    figure.add_vline(x=0, line={"color": BLACK, "width": 1, "dash": "dot"})
    rows = list(dict.fromkeys(_row_of(arm, placed) for arm in compared.arm))
    figure.update_yaxes(
        categoryorder="array", categoryarray=rows[::-1], type="category", title="arm"
    )
    figure.update_layout(height=200 + _ROW * len(rows), margin={"l": 260, "t": 110, "b": 90})
    return figure


def _draw_placements(
    figure: go.Figure, bands: list[tuple[str, tuple[float, float, float]]]
) -> None:
    """A band for each group of draws, with its middle."""
    if not bands:
        return
    figure.add_trace(
        go.Scatter(
            x=[x for _, ends in bands for x in (*ends[:2], None)],
            y=[y for name, _ in bands for y in (name, name, None)],
            mode="lines",
            line={"color": GREY, "width": 12},
            opacity=0.35,
            name="gates with the gaps of other sites, lowest to highest",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[ends[2] for _, ends in bands],
            y=[name for name, _ in bands],
            mode="markers",
            marker={"color": GREY, "symbol": "line-ns-open", "size": 14, "line": {"width": 2}},
            name="their middle",
        )
    )


def _placements(placed: pd.DataFrame) -> list[tuple[str, tuple[float, float, float]]]:
    """Name, lowest, highest and middle difference of each group of draws."""
    return [
        (
            _row_name(str(name), rows),
            (rows.difference.min(), rows.difference.max(), rows.difference.median()),
        )
        for name, rows in placed.groupby("group", sort=False)
    ]


def _row_of(arm: str, placed: pd.DataFrame) -> str:
    """The row in which an arm is drawn."""
    group = placed.group[placed.arm == arm]
    if group.empty:
        return arm
    return _row_name(group.iloc[0], placed[placed.group == group.iloc[0]])


def _row_name(group: str, rows: pd.DataFrame) -> str:
    """A group with the number of its draws, and of how many of them something is known."""
    known, n = int(rows.difference.notna().sum()), len(rows)
    return f"{group} ({n})" if known == n else f"{group} ({known} of {n} known)"
