"""The report: one HTML page that opens offline, drawn from the rows of a run alone.

Every kind of run has a page and its figures in a module of its own, listed in `KINDS` by the name
that the run's configuration gives as its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go

from steerscope.errors import BadValueError, RunError, UnknownNameError
from steerscope.report.page import Page, Plate, write_page
from steerscope.report.plates import plates as study_plates
from steerscope.report.study import page as study_page
from steerscope.results import Run
from steerscope.whole_files import write_whole

FORMATS = ("html", "png", "svg", "pdf")


@dataclass(frozen=True)
class Kind:
    """How runs of one kind are shown."""

    page: Callable[[Run], Page]
    plates: Callable[[Run], list[Plate]]


KINDS = {
    "StudyPlan": Kind(study_page, study_plates),
    "SweepPlan": Kind(study_page, study_plates),
}


def _kind(run: Run) -> Kind:
    name = run.configuration.get("kind", "")
    if name not in KINDS:
        raise RunError(
            f"{run.path} is a run of the kind {name!r}, which has no report; known kinds: "
            f"{', '.join(KINDS)}."
        )
    return KINDS[name]


def write_report(run: Run) -> Path:
    """Write `report.html` of a run and return its path; no model is needed.

    Raises:
        RunError: the run has no rows, or is of a kind without a page.
    """
    path = run.path / "report.html"
    write_page(path, _kind(run).page(run))
    return path


def plates(run: Run) -> list[Plate]:
    """Every figure that the rows of a run can give.

    Raises:
        RunError: the run has no rows, or is of a kind without figures.
    """
    return _kind(run).plates(run)


def draw_figures(run: Run, formats: Sequence[str]) -> list[Path]:
    """Write every figure of a run into its `figures` folder, in each format.

    Raises:
        UnknownNameError: a format that does not exist.
        BadValueError: a static format without kaleido and a browser.
    """
    for name in formats:
        if name not in FORMATS:
            raise UnknownNameError("figure format", name, FORMATS)
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    written = []
    for plate in plates(run):
        for name in formats:
            path = folder / f"{plate.name}.{name}"
            _write_figure(plate.figure, path, name)
            written.append(path)
    return written


def _write_figure(figure: go.Figure, path: Path, name: str) -> None:
    if name == "html":
        write_whole(path, figure.to_html(include_plotlyjs=True, full_html=True))
        return
    try:
        content = figure.to_image(format=name, scale=2 if name == "png" else 1)
    except (ValueError, RuntimeError, ImportError) as error:
        raise BadValueError(
            f"cannot write {path.name}: static figures need the extra steerscope[images] and a "
            f"Chrome or Chromium ({' '.join(str(error).split())[:120]})."
        ) from error
    path.write_bytes(content)
