"""A figure laid out again for one or two columns of a paper.

Letters keep their size in print while the picture shrinks, so the room of titles, labels and legend
is computed here from the letters; plotly's own margins know no line breaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from steerscope.figures.lettering import LINE, text_height, text_width, wrapped
from steerscope.figures.ticks import space_ticks

COLUMN_INCHES = {1: 3.25, 2: 6.75}
PIXELS_PER_INCH = 96  # what SVG and PDF take a pixel for
CAPTION = "caption"  # name of an annotation, and key of a figure's meta

_SIZES = {1: 10.0, 2: 11.0}  # pixels: 7.5 and 8.25 points in print
_LEAST = {1: 0.5, 2: 0.7}  # share of its height that a figure keeps at least
_LABEL_SHARE = 0.3  # of the width of the figure that names of categories may take
_NUMBER = "-0.25"  # as wide as most labels of numbers
_TICK, _GAP = 3.0, 5.0  # pixels
_BAR = 9.0  # width of a colour bar
_SYMBOL = 46.0  # pixels of a legend's entry beside its text
_IN_LEGEND = frozenset({"scatter", "bar", "scatterpolar", "box", "violin", "histogram"})


@dataclass(frozen=True)
class _Sheet:
    """The page that a figure has to fit on, in pixels."""

    width: float
    size: float

    @property
    def small(self) -> float:
        """Size of the labels of ticks and legend."""
        return self.size - 1


def in_columns(figure: go.Figure, columns: int) -> go.Figure:
    """The figure, changed in place, as wide as the columns with letters that can be read there."""
    sheet = _Sheet(COLUMN_INCHES[columns] * PIXELS_PER_INCH, _SIZES[columns])
    layout, ratio = figure.layout, COLUMN_INCHES[columns] * PIXELS_PER_INCH / figure.layout.width
    old = layout.height - (layout.margin.t or 0) - (layout.margin.b or 0)
    plot_height = old * max(ratio, _LEAST[columns])
    figure.layout.annotations = [a for a in layout.annotations if a.name != CAPTION]
    right = _dress_bars(figure, sheet, plot_height)
    left = _dress_y_axes(figure, sheet, plot_height)
    around = _dress_polars(figure, sheet)
    left, right = max(left, around), max(right, around)
    plot_width = sheet.width - left - right
    bottom = _dress_x_axes(figure, sheet, plot_width)
    space_ticks(figure, plot_width, plot_height, sheet.small)
    _empty_small_cells(figure, sheet, plot_width)
    panels = _dress_notes(figure, sheet, plot_width)
    if around:  # a circle has a name above it and one below
        panels, bottom = panels + 2 * sheet.size, bottom + 2 * sheet.size
    title = wrapped(layout.title.text or "", sheet.size + 1, sheet.width - 16)
    title_height = text_height(title, sheet.size + 1) + 6
    # Plotly centres further lines on the first.
    above = 6 + text_height(title, sheet.size + 1) / 2 - (sheet.size + 1) * LINE / 2
    top = title_height + _legend_height(figure, sheet, plot_width) + panels + _GAP
    height = top + plot_height + bottom
    figure.update_layout(
        width=sheet.width,
        height=height,
        font={"size": sheet.size},
        margin={"l": left, "r": right, "t": top, "b": bottom, "autoexpand": False, "pad": 0},
        title={
            "text": title, "font": {"size": sheet.size + 1}, "x": 8 / sheet.width,
            "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": above},
        },
        legend={
            "orientation": "h", "font": {"size": sheet.small}, "xref": "container",
            "x": 4 / sheet.width, "xanchor": "left", "yref": "container",
            "y": 1 - title_height / height, "yanchor": "top",
            "title": {"side": "top", "font": {"size": sheet.small}},
            "tracegroupgap": 0, "bgcolor": "rgba(0,0,0,0)",
        },
    )  # fmt: skip
    _shrink_marks(figure, max(ratio, 0.6))
    return figure


def _legend_height(figure: go.Figure, sheet: _Sheet, plot_width: float) -> float:
    shown = [t for t in figure.data if t.type in _IN_LEGEND and t.showlegend is not False]
    names = [t.name for t in shown if t.name]
    if not names or figure.layout.showlegend is False or (len(figure.data) == 1):
        return 0.0
    widths = [text_width(n, sheet.small) + _SYMBOL for n in names]
    in_a_row = len(names) if sum(widths) < plot_width else max(1, int(plot_width / max(widths)))
    rows = -(-len(names) // in_a_row)
    heading = text_height(figure.layout.legend.title.text or "", sheet.small)
    return rows * (sheet.small * LINE + 7) + heading + 6


def _dress_notes(figure: go.Figure, sheet: _Sheet, plot_width: float) -> float:
    """Titles of panels and notes in the size of the page; the height that the titles need."""
    for note in figure.layout.annotations:
        note.font.size = sheet.small
    above = [a for a in figure.layout.annotations if a.yref == "paper" and (a.y or 0) > 0.99]
    for note in above:
        note.text = wrapped(note.text, sheet.small, 0.95 * plot_width / len({a.x for a in above}))
    return max((text_height(a.text, sheet.small) for a in above), default=0.0)


def _empty_small_cells(figure: go.Figure, sheet: _Sheet, plot_width: float) -> None:
    """Cells of a map lose texts that are wider than they are; the table beside has the numbers."""
    for trace in figure.data:
        if trace.type != "heatmap" or trace.text is None:
            continue
        low, high = figure.layout[(trace.xaxis or "x").replace("x", "xaxis")].domain or (0.0, 1.0)
        widest = max(text_width(str(text), sheet.small) for row in trace.text for text in row)
        if widest > (high - low) * plot_width / len(trace.x):
            trace.texttemplate = None


def _dress_bars(figure: go.Figure, sheet: _Sheet, plot_height: float) -> float:
    """Colour bars in the size of the page; the margin that the rightmost needs."""
    right = 10.0
    for trace in figure.data:
        if trace.type in {"heatmap", "scatter", "bar"}:
            trace.textfont.size = min(trace.textfont.size or sheet.size, sheet.small)
        bar = _bar(trace)
        if bar is None:
            continue
        title = wrapped(bar.title.text or "", sheet.size, plot_height)
        bar.thickness, bar.xpad, bar.tickfont = _BAR, 3, {"size": sheet.small}
        bar.title = {"text": title, "side": "right", "font": {"size": sheet.size}}
        needed = _BAR + text_width("0.25", sheet.small) + text_height(title, sheet.size) + 14
        if bar.x is None or bar.x > 0.9:
            right = max(right, needed)
    return right


def _bar(trace: Any) -> Any:
    """The colour bar of a trace; None without one."""
    if trace.type == "heatmap" and trace.showscale is not False:
        return trace.colorbar
    if trace.type == "scatter" and trace.marker.showscale:
        return trace.marker.colorbar
    return None


def _dress_y_axes(figure: go.Figure, sheet: _Sheet, plot_height: float) -> float:
    """Titles and labels in the size of the page; the margin that the leftmost need."""
    left = 8.0
    for axis in figure.select_yaxes():
        if not axis.to_plotly_json():  # a figure without straight axes
            continue
        low, high = axis.domain or (0.0, 1.0)
        title = wrapped(axis.title.text or "", sheet.size, 1.1 * (high - low) * plot_height)
        names = [] if axis.ticktext else _categories(figure, axis, "y")
        if names:
            labels = [wrapped(n, sheet.small, _LABEL_SHARE * sheet.width) for n in names]
            axis.tickvals, axis.ticktext = names, labels
        labels = labels if names else list(axis.ticktext or [_NUMBER])
        _letter(axis, sheet, title)
        if axis.showticklabels is not False:
            widest = max(text_width(str(label), sheet.small) for label in labels)
            left = max(left, text_height(title, sheet.size) + widest + _TICK + _GAP + 6)
    return left


def _dress_x_axes(figure: go.Figure, sheet: _Sheet, plot_width: float) -> float:
    """Titles and labels in the size of the page; the margin that the lowest need."""
    bottom = 8.0
    for axis in figure.select_xaxes():
        if not axis.to_plotly_json():
            continue
        low, high = axis.domain or (0.0, 1.0)
        room = (high - low) * plot_width
        title = wrapped(axis.title.text or "", sheet.size, room)
        labels = [str(t) for t in (axis.ticktext or _categories(figure, axis, "x"))]
        widest = max((text_width(t, sheet.small) for t in labels), default=0.0)
        tall = max((text_height(t, sheet.small) for t in labels), default=LINE * sheet.small)
        axis.tickangle = 0
        if len(labels) * (widest + 3) > room:
            axis.tickangle, tall = -90, widest
        _letter(axis, sheet, title)
        bottom = max(bottom, tall + text_height(title, sheet.size) + _TICK + _GAP + 6)
    return bottom


def _letter(axis: Any, sheet: _Sheet, title: str) -> None:
    axis.title = {"text": title, "font": {"size": sheet.size}, "standoff": _GAP}
    axis.tickfont.size, axis.ticklen, axis.automargin = sheet.small, _TICK, False


def _categories(figure: go.Figure, axis: Any, letter: str) -> list[str]:
    """The names along an axis of categories, in no particular order; empty for numbers."""
    if axis.type == "category" and axis.categoryarray:
        return [str(n) for n in axis.categoryarray]
    name = axis.plotly_name.replace("axis", "")
    mine = [
        t
        for t in figure.data
        if t.type != "scatterpolar" and (t[f"{letter}axis"] or letter) == name
    ]
    values = [v for t in mine for v in (getattr(t, letter) if t[letter] is not None else ())]
    return list(dict.fromkeys(v for v in values if isinstance(v, str)))


def _dress_polars(figure: go.Figure, sheet: _Sheet) -> float:
    """Circles over the whole width, as the legend is above; the margin for the names around them."""
    margin = 0.0
    for polar in figure.select_polars():
        if not polar.to_plotly_json():  # a figure without circles
            continue
        polar.domain.x = [0.0, 1.0]
        polar.radialaxis.tickfont.size = sheet.small - 1
        polar.angularaxis.tickfont.size = sheet.small
        names = [str(t) for t in polar.angularaxis.ticktext or ()]
        margin = max([margin, *(text_width(n, sheet.small) + 4 for n in names)])
    return margin


def _shrink_marks(figure: go.Figure, factor: float) -> None:
    for trace in figure.data:
        if trace.type not in {"scatter", "scatterpolar"}:
            continue
        mark = trace.marker
        if isinstance(mark.size, (int, float)):
            mark.size = max(4.0, factor * mark.size)
        for drawn in (trace.line, mark.line):
            if isinstance(drawn.width, (int, float)) and drawn.width:
                drawn.width = max(1.0, factor * drawn.width)
