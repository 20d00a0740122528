"""Whether everything that is printed of a run still follows from its rows, and its rows from its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from steerscope.errors import RunError, reason
from steerscope.experiments.inputs import compare_inputs
from steerscope.experiments.running import FILE
from steerscope.report import KINDS, has_page, plates, report_page, tables
from steerscope.runs.difference import Difference
from steerscope.runs.records import check_records
from steerscope.runs.results import RUN, Run
from steerscope.runs.tables import table_files
from steerscope.verification.experiments import check_experiment, expected_of
from steerscope.verification.judged import check_judged
from steerscope.verification.printed import check_printed
from steerscope.verification.printings import (
    compare_figures,
    compare_pages,
    compare_tables,
    strange_tables,
)


@dataclass(frozen=True)
class Verification:
    """What was compared, and what differs.

    Attributes:
        n_rows: rows and texts that were hashed again.
        n_files: files that were compared with a manifest.
        n_printed: numbers and sentences that were computed again.
        differences: none if all is well.
        not_compared: inputs that a run keeps no hash of, or none that can be had without its model.
    """

    n_rows: int = 0
    n_files: int = 0
    n_printed: int = 0
    differences: tuple[Difference, ...] = ()
    not_compared: tuple[str, ...] = ()

    def __add__(self, other: Verification) -> Verification:
        return Verification(
            self.n_rows + other.n_rows,
            self.n_files + other.n_files,
            self.n_printed + other.n_printed,
            self.differences + other.differences,
            self.not_compared + other.not_compared,
        )


def verify(folder: str | Path, *, weights: bool = True) -> Verification:
    """Compute again all that was printed of a run or an experiment, and hash all it came from.

    Whatever is damaged, missing, altered or there without a reason is a difference, never an error.

    Args:
        folder: of a run, or of an experiment with its runs.
        weights: whether to load the model for its fingerprint.

    Raises:
        RunError: the folder holds neither.
    """
    folder = Path(folder)
    if (folder / FILE).exists() or any((folder / "runs").glob(f"*/{RUN}")):
        return _verify_experiment(folder, weights)
    if not any((folder / name).exists() for name in (RUN, "rows", "manifest.json")):
        raise RunError(f"{folder} is no run and no experiment: it has no {RUN} and no {FILE}.")
    return _verify_run(folder, weights)


def _verify_run(folder: Path, weights: bool) -> Verification:
    try:
        run = Run.open(folder)
    except RunError as error:
        return _found(Difference(RUN, "the description", "not usable", str(error)))
    old = run.description.get("format_version", 1) == 1
    return sum(
        (
            _attempt("rows", lambda: _records(run)),
            _attempt("judged", lambda: _judged(run)),
            _attempt("inputs", lambda: _inputs(run, weights)),
            _attempt("report.html", lambda: _page(run, whole=not old)),
            _attempt("figures", lambda: _figures(run, whole=not old)),
            _attempt("tables", lambda: _tables(run)),
            _attempt("printed", lambda: _found(*check_printed(folder, old=old))),
        ),
        Verification(),
    )


def _attempt(where: str, look: Callable[[], Verification]) -> Verification:
    """What a look finds; where even that fails, what is there is too damaged, which is a difference."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - altered files fail in ways that cannot be listed
        said = f"nothing: the rows do not give it ({reason(error)})"
        return _found(Difference(where, "what it prints", "there", said))


def _found(*differences: Difference) -> Verification:
    return Verification(differences=differences)


def _inputs(run: Run, weights: bool) -> Verification:
    found = compare_inputs(run, weights=weights)
    return Verification(differences=found.differences, not_compared=found.not_compared)


def _records(run: Run) -> Verification:
    records = check_records(run)
    return Verification(records.n_rows, records.n_files, 0, records.differences)


def _judged(run: Run) -> Verification:
    count, found = check_judged(run)
    return Verification(0, 0, count, tuple(found))


def _is_shown(run: Run) -> bool:
    return run.configuration.get("kind") in KINDS


def _page(run: Run, *, whole: bool) -> Verification:
    path = run.path / "report.html"
    if not (path.is_file() and has_page(run)):
        return Verification()
    stored = path.read_text(encoding="utf-8", errors="replace")
    count, found = compare_pages(path.name, stored, report_page(run), whole=whole)
    return Verification(0, 0, count, tuple(found))


def _figures(run: Run, *, whole: bool) -> Verification:
    folder = run.path / "figures"
    if not (folder.is_dir() and _is_shown(run)):
        return Verification()
    count, found = compare_figures(folder, plates(run), whole=whole)
    return Verification(0, 0, count, tuple(found))


def _tables(run: Run) -> Verification:
    folder = run.path / "tables"
    if not (folder.is_dir() and _is_shown(run)):
        return Verification()
    expected = {name: text for table in tables(run) for name, text in table_files(table).items()}
    count, found = compare_tables(folder, expected)
    return Verification(0, 0, count, (*found, *strange_tables(folder, expected)))


def _verify_experiment(folder: Path, weights: bool) -> Verification:
    total = _attempt(FILE, lambda: _found(*check_experiment(folder)))
    for path in sorted(p for p in (folder / "runs").glob("*") if p.is_dir()):
        found = _verify_run(path, weights)
        named = tuple(replace(d, where=f"{path.name}/{d.where}") for d in found.differences)
        aside = tuple(f"{path.name}/{name}" for name in found.not_compared)
        total += replace(found, differences=named, not_compared=aside)
    return (
        total
        + _attempt("tables", lambda: _tables_and_figures(folder))
        + _attempt("printed", lambda: _found(*check_printed(folder, old=_is_old(folder))))
    )


def _tables_and_figures(folder: Path) -> Verification:
    expected, drawn = expected_of(folder)
    n_cells, found = compare_tables(folder / "tables", expected)
    found += strange_tables(folder / "tables", expected)
    n_drawn, figures = compare_figures(folder / "figures", drawn, whole=not _is_old(folder))
    return Verification(0, 0, n_cells + n_drawn, (*found, *figures))


def _is_old(folder: Path) -> bool:
    """Whether every run of an experiment is from before printed files were written down."""
    found = []
    for path in (folder / "runs").glob(f"*/{RUN}"):
        try:
            found.append(Run.open(path.parent).description.get("format_version", 1) == 1)
        except RunError:
            return False
    return all(found)


__all__ = ["Difference", "Verification", "verify"]
