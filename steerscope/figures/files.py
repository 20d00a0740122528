"""Figures on disk: a page, a picture for print, the numbers that are drawn, and the caption."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.figures.lettering import plain_text
from steerscope.figures.literal import spoken
from steerscope.figures.looks import SCREEN, Look, caption_of, captioned, dressed
from steerscope.figures.program import plotly_program
from steerscope.runs.spreadsheets import as_csv
from steerscope.runs.whole_files import whole_file, write_whole

FORMATS = ("html", "png", "svg", "pdf")
_PNG_SCALE = {None: 2.0, 1: 300 / 96, 2: 300 / 96}  # 300 dots per inch in print


@dataclass(frozen=True, eq=False)
class Plate:
    """A figure with its file name, a short caption, and what else there is to know of it."""

    name: str
    figure: go.Figure
    caption: str
    more: str = ""

    @property
    def whole_caption(self) -> str:
        """All that is said of it, as it stands under a picture."""
        return f"{self.caption} {self.more}".strip()


def drawn(figure: go.Figure) -> pd.DataFrame:
    """What a figure shows, as a table: one row per point, bar, cell of a map or edge of a band.

    Columns: trace, part (`band` for the outline of an interval), x_title, y_title, x, y, and where there are any z, low, high and text; low and
    high are the ends of an error bar.
    """
    rows = [row for trace in figure.data for row in _rows(figure, trace)]
    table = pd.DataFrame(rows)
    return table.map(spoken).dropna(axis="columns", how="all")


def write_plate(
    plate: Plate, folder: Path, formats: Sequence[str] = ("html",), look: Look = SCREEN
) -> list[Path]:
    """Write a figure in each format, its numbers as CSV and its caption as text.

    Raises:
        UnknownNameError: a format that does not exist.
        BadValueError: a static format without kaleido and a browser.
        RunError: the disk refused.
    """
    check_formats(formats)
    figure = _with_caption(plate)
    written = [folder / f"{plate.name}.csv"]
    write_whole(written[0], figure_numbers(plate))
    caption = caption_of(figure)
    if caption:
        written.append(folder / f"{plate.name}.txt")
        write_whole(written[-1], caption + "\n")
    for name in formats:
        written.append(folder / f"{plate.name}.{name}")
        if name == "html":
            write_whole(written[-1], figure_page(plate, look))
        else:
            _write_picture(figure, written[-1], look)
    return written


def figure_numbers(plate: Plate) -> str:
    """What a figure shows, as CSV."""
    return as_csv(drawn(plate.figure))


def _with_caption(plate: Plate) -> go.Figure:
    return captioned(plate.figure, plate.whole_caption) if plate.caption else plate.figure


def check_formats(formats: Sequence[str]) -> None:
    """Refuse formats that no figure is written in.

    Raises:
        UnknownNameError: a format that does not exist.
    """
    for name in formats:
        if name not in FORMATS:
            raise UnknownNameError("figure format", name, FORMATS)


def figure_page(plate: Plate, look: Look = SCREEN) -> str:
    """A figure with its caption as a page that opens offline."""
    figure = _with_caption(plate)
    caption = caption_of(figure)
    shown = dressed(figure, look)
    # The picture in the page has its caption as text, which the reader can select.
    bare = (
        dressed(go.Figure(figure).update_layout(meta=None), look) if figure.layout.meta else shown
    )
    page = bare.to_html(
        include_plotlyjs=False, full_html=True, config={"displaylogo": False}, div_id="figure"
    )
    page = page.replace("<body>", f"<body><script>{plotly_program()}</script>", 1)
    background, colour = bare.layout.paper_bgcolor or "white", bare.layout.font.color
    style = f"<style>body{{background:{background};color:{colour};font:14px Helvetica,Arial,sans-serif}}"
    style += f"figcaption{{max-width:{int(bare.layout.width)}px}}</style>"
    said = f"<figcaption>{html.escape(caption)}</figcaption>" if figure.layout.meta else ""
    title = html.escape(plain_text(str(figure.layout.title.text or "")))
    page = page.replace("</head>", f"<title>{title}</title>{style}</head>", 1)
    head, _, tail = page.rpartition("</body>")
    return f"{head}{said}</body>{tail}"


def _write_picture(figure: go.Figure, path: Path, look: Look) -> None:
    kind = path.suffix[1:]
    scale = _PNG_SCALE[look.columns] if kind == "png" else 1
    try:
        content = dressed(figure, look).to_image(format=kind, scale=scale)
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        raise BadValueError(
            f"cannot write {path.name}: static figures need the extra steerscope[images] and a "
            f"Chrome or Chromium ({' '.join(str(error).split())[:120]})."
        ) from error
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


# -- what is drawn ----------------------------------------------------------------------------------


def _rows(figure: go.Figure, trace: Any) -> Iterator[dict[str, Any]]:
    titles = _titles(figure, trace)
    band = trace.type == "scatter" and trace.fill == "toself"
    start = {"trace": trace.name or trace.type, "part": "band" if band else None} | titles
    if trace.type == "heatmap":
        yield from ({**start, **cell} for cell in _cells(trace))
        return
    polar = trace.type == "scatterpolar"
    x, y = (trace.theta, trace.r) if polar else (_true(trace, axis) for axis in "xy")
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        if a is None and b is None:  # stands for a colour in the legend
            continue
        yield {**start, "x": a, "y": b, **_ends(trace, a, b, i), "text": _at(trace.text, i)}


def _true(trace: Any, axis: str) -> Sequence[Any]:
    """Where the points are, also those that are drawn at an end of the axis, as `kept_inside` has them."""
    return (trace.meta or {}).get(axis, trace[axis])


def _cells(trace: Any) -> Iterator[dict[str, Any]]:
    for row, (y, values) in enumerate(zip(trace.y, trace.z, strict=True)):
        for column, (x, z) in enumerate(zip(trace.x, values, strict=True)):
            text = None if trace.text is None else trace.text[row][column]
            yield {"x": x, "y": y, "z": z, "text": text}


def _ends(trace: Any, x: Any, y: Any, i: int) -> dict[str, float]:
    for name, centre in (("error_x", x), ("error_y", y)):
        bars = getattr(trace, name, None)
        if bars is not None and bars.array is not None:
            below = bars.arrayminus if bars.arrayminus is not None else bars.array
            return {"low": centre - below[i], "high": centre + bars.array[i]}
    return {}


def _at(values: Any, i: int) -> Any:
    return values if values is None or isinstance(values, str) else values[i]


def _titles(figure: go.Figure, trace: Any) -> dict[str, str | None]:
    if trace.type == "scatterpolar":
        radius = (figure.layout.legend.title.text or "").replace("<br>", " ")
        return {"x_title": "angle (degrees)", "y_title": radius}
    axes = (trace.xaxis or "x").replace("x", "xaxis"), (trace.yaxis or "y").replace("y", "yaxis")
    x, y = (t and t.replace("<br>", " ") for t in (figure.layout[a].title.text for a in axes))
    return {"x_title": x, "y_title": y}
