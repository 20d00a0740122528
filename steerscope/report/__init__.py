"""The report: one HTML page that opens offline, drawn from the rows of a run alone.

Every kind of run has a page and its figures in a module of its own, listed in `KINDS` by the name
that the run's configuration gives as its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from steerscope.errors import RunError
from steerscope.figures.files import Plate, check_formats, write_plate
from steerscope.figures.looks import SCREEN, Look
from steerscope.progress import Track, silent
from steerscope.report.page import Page, as_sheet
from steerscope.report.plates import plates as study_plates
from steerscope.report.study import page as study_page
from steerscope.report.tables import tables as study_tables
from steerscope.report.tables_only import FRAMES, frames_as_plates, frames_as_tables
from steerscope.report.transfer import page as transfer_page
from steerscope.report.transfer import plates as transfer_plates
from steerscope.report.transfer import tables as transfer_tables
from steerscope.report.weights import page as weights_page
from steerscope.report.weights import plates as weights_plates
from steerscope.report.weights import tables as weights_tables
from steerscope.runs.printed import record_printed
from steerscope.runs.results import Run
from steerscope.runs.tables import Table, write_table
from steerscope.runs.whole_files import write_whole


@dataclass(frozen=True)
class Kind:
    """How runs of one kind are shown; some have tables alone."""

    tables: Callable[[Run], list[Table]]
    page: Callable[[Run], Page] | None = None
    plates: Callable[[Run], list[Plate]] = lambda run: []  # noqa: ARG005 - none


KINDS = {
    "StudyPlan": Kind(study_tables, study_page, study_plates),
    "SweepPlan": Kind(study_tables, study_page, study_plates),
    "TransferPlan": Kind(transfer_tables, transfer_page, transfer_plates),
    "WeightSweepPlan": Kind(weights_tables, weights_page, weights_plates),
    **{name: Kind(frames_as_tables, plates=frames_as_plates) for name in FRAMES},
}


def _kind(run: Run) -> Kind:
    name = run.configuration.get("kind", "")
    if name not in KINDS:
        raise RunError(
            f"{run.path} is a run of the kind {name!r}, which has no report; known kinds: "
            f"{', '.join(KINDS)}."
        )
    return KINDS[name]


def has_page(run: Run) -> bool:
    """Whether there is a page of runs of this kind."""
    found = KINDS.get(run.configuration.get("kind", ""))
    return found is not None and found.page is not None


def write_report(run: Run) -> Path:
    """Write `report.html` of a run and return its path; no model is needed.

    Raises:
        RunError: the run has no rows, or is of a kind without a page.
    """
    path = run.path / "report.html"
    write_whole(path, report_page(run))
    record_printed(run.path, [path])
    return path


def report_page(run: Run) -> str:
    """The page of a run, drawn from its rows alone.

    Raises:
        RunError: the run has no rows, or is of a kind without a page.
    """
    page = _kind(run).page
    if page is None:
        raise RunError(
            f"{run.path} is a run of the kind {run.configuration['kind']!r}, which has tables and no page."
        )
    return as_sheet(page(run))


def plates(run: Run) -> list[Plate]:
    """Every figure that the rows of a run can give.

    Raises:
        RunError: the run has no rows, or is of a kind without figures.
    """
    return _kind(run).plates(run)


def draw_figures(
    run: Run, formats: Sequence[str], look: Look = SCREEN, *, progress: Track = silent
) -> list[Path]:
    """Write every figure of a run into its `figures` folder: each format, its numbers, its caption.

    Args:
        run: of a kind that has figures.
        formats: of `html`, `png`, `svg` and `pdf`.
        look: colours and width.
        progress: shows the loop.

    Raises:
        UnknownNameError: a format that does not exist.
        BadValueError: a static format without kaleido and a browser.
    """
    check_formats(formats)
    folder = run.path / "figures"
    drawing = progress(plates(run), "drawing")
    written = [p for plate in drawing for p in write_plate(plate, folder, formats, look)]
    record_printed(run.path, written)
    return written


def tables(run: Run) -> list[Table]:
    """Every table that the rows of a run can give.

    Raises:
        RunError: the run has no rows, or is of a kind without tables.
    """
    return _kind(run).tables(run)


def write_tables(run: Run) -> list[Path]:
    """Write every table of a run into its `tables` folder, as CSV, Markdown and LaTeX.

    Raises:
        RunError: the run has no rows, or the disk refused.
    """
    written = [p for table in tables(run) for p in write_table(table, run.path / "tables")]
    record_printed(run.path, written)
    return written
