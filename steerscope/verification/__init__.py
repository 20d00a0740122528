"""Whether everything that is printed of a run still follows from its rows, and its rows from its inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from steerscope.errors import RunError, SteerscopeError
from steerscope.experiments.running import (
    FILE,
    open_experiment,
    plates_of,
    runs_of,
    tables_of,
)
from steerscope.report import KINDS, plates, report_page, tables
from steerscope.runs.results import Run
from steerscope.runs.tables import table_files
from steerscope.verification.difference import Difference
from steerscope.verification.inputs import check_inputs
from steerscope.verification.printings import compare_figures, compare_pages, compare_tables
from steerscope.verification.records import check_records


@dataclass(frozen=True)
class Verification:
    """What was compared, and what differs.

    Attributes:
        n_rows: rows and texts that were hashed again.
        n_files: files that were compared with a manifest.
        n_printed: numbers and sentences that were computed again.
        differences: none if all is well.
    """

    n_rows: int
    n_files: int
    n_printed: int
    differences: tuple[Difference, ...]

    def __add__(self, other: Verification) -> Verification:
        return Verification(
            self.n_rows + other.n_rows,
            self.n_files + other.n_files,
            self.n_printed + other.n_printed,
            self.differences + other.differences,
        )


def verify(folder: str | Path, *, weights: bool = True) -> Verification:
    """Compute again all that was printed of a run or an experiment, and hash all it came from.

    Args:
        folder: of a run, or of an experiment with its runs.
        weights: whether to load the model for its fingerprint.

    Raises:
        RunError: the folder holds neither.
    """
    folder = Path(folder)
    if (folder / FILE).is_file():
        return _verify_experiment(folder, weights)
    if not (folder / "run.json").is_file():
        raise RunError(f"{folder} is no run and no experiment: it has no run.json and no {FILE}.")
    return _verify_run(Run.open(folder), weights)


def _verify_run(run: Run, weights: bool) -> Verification:
    records = check_records(run)
    differences = [*records.differences, *check_inputs(run, weights=weights)]
    n_printed = 0
    if run.configuration.get("kind") in KINDS:
        try:
            n_printed, differing = _page_and_figures(run)
        except (SteerscopeError, LookupError, ValueError) as error:
            differing = [_not_computable("report.html", error)]
        differences += differing
    return Verification(records.n_rows, records.n_files, n_printed, tuple(differences))


def _page_and_figures(run: Run) -> tuple[int, list[Difference]]:
    count = 0
    found: list[Difference] = []
    page, drawn = run.path / "report.html", run.path / "figures"
    if page.is_file():
        text = page.read_text(encoding="utf-8")
        count, found = compare_pages(page.name, text, report_page(run))
    if drawn.is_dir():
        more, differing = compare_figures(drawn, plates(run))
        count, found = count + more, found + differing
    if (run.path / "tables").is_dir():
        for table in tables(run):
            more, differing = compare_tables(run.path / "tables", table_files(table))
            count, found = count + more, found + differing
    return count, found


def _not_computable(where: str, error: Exception) -> Difference:
    """Rows so altered that nothing can be printed of them."""
    return Difference(
        where, "what it prints", "there", f"nothing: the rows do not give it ({error})"
    )


def _verify_experiment(folder: Path, weights: bool) -> Verification:
    experiment = open_experiment(folder)
    runs = runs_of(experiment, folder)
    total = Verification(0, 0, 0, ())
    for run in runs:
        found = _verify_run(run, weights)
        named = tuple(replace(d, where=f"{run.path.name}/{d.where}") for d in found.differences)
        total += replace(found, differences=named)
    try:
        n_cells, tables = compare_tables(folder / "tables", tables_of(experiment, runs))
        n_drawn, figures = compare_figures(folder / "figures", plates_of(experiment, runs))
    except (SteerscopeError, LookupError, ValueError) as error:
        n_cells, n_drawn, figures = 0, 0, []
        tables = [_not_computable("tables", error)]
    return total + Verification(0, 0, n_cells + n_drawn, (*tables, *figures))


__all__ = ["Difference", "Verification", "verify"]
