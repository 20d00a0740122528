"""Ticks of whole numbers, such as layers, as far apart as their labels need."""

from __future__ import annotations

from numbers import Real
from typing import Any

import plotly.graph_objects as go

from steerscope.figures.lettering import LINE, text_width

_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_APART = 5.0  # pixels between two labels


def space_ticks(figure: go.Figure, width: float, height: float, size: float) -> None:
    """Leave labels out where an axis that has one at every whole number has no room for them all.

    Args:
        figure: is changed in place.
        width: of the picture without its margins, in pixels.
        height: likewise.
        size: of the labels, in pixels.
    """
    for axis in figure.select_xaxes():
        ends = _ends(figure, axis, "x")
        if ends is not None:
            _space(axis, ends, width, text_width(f"{ends[1]:.0f}", size) + _APART)
    for axis in figure.select_yaxes():
        ends = _ends(figure, axis, "y")
        if ends is not None:
            _space(axis, ends, height, size * LINE)


def _space(axis: Any, ends: tuple[float, float], room: float, label: float) -> None:
    low, high = axis.domain or (0.0, 1.0)
    needed = label * (ends[1] - ends[0]) / max(1.0, (high - low) * room)
    axis.dtick = next((step for step in _STEPS if step >= needed), _STEPS[-1])


def _ends(figure: go.Figure, axis: Any, letter: str) -> tuple[float, float] | None:
    """The smallest and the largest number on an axis with a tick at each; None for any other axis."""
    if axis.dtick != 1 or axis.type in {"category", "log"}:
        return None
    if axis.range is not None:
        return min(axis.range), max(axis.range)
    name = axis.plotly_name.replace("axis", "")
    mine = [
        t for t in figure.data if f"{letter}axis" in t and (t[f"{letter}axis"] or letter) == name
    ]
    given = (v for t in mine if t[letter] is not None for v in t[letter])
    values = [float(v) for v in given if isinstance(v, Real)]
    return (min(values) - 0.5, max(values) + 0.5) if values else None
