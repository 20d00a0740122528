"""Commands that have people rate the texts of a run: `steerscope ratings export` and `import`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated

import typer

from steerscope.cli.shared import Force, Json, finish
from steerscope.errors import BadValueError
from steerscope.texts.showing import counted

if TYPE_CHECKING:
    from steerscope.statistics import Estimate

ratings = typer.Typer(help="People as judges of the texts of a run.", add_completion=False)
RunDir = Annotated[Path, typer.Argument(help="a run directory")]


@ratings.callback()
def _ratings() -> None:
    """People as judges of the texts of a run."""


@ratings.command("export")
def export(
    run_dir: RunDir,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="CSV to write, with a page beside it; default RUN-ratings.csv"
        ),
    ] = None,
    number: Annotated[int, typer.Option(min=1, help="texts at most")] = 60,
    seed: Annotated[int, typer.Option(help="of which texts, and of their order")] = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a blinded, shuffled sheet: a CSV to fill in, and a page to click through offline.

    Examples:
        steerscope ratings export runs/mine --out sheet.csv
    """
    from steerscope.judges.ratings import make_sheet
    from steerscope.report.rating_page import rating_page
    from steerscope.runs.outputs import check_file
    from steerscope.runs.results import Run
    from steerscope.runs.whole_files import write_whole

    run = Run.open(run_dir)
    table = out or Path(f"{run.path.resolve().name}-ratings.csv")
    page = table.with_suffix(".html")
    if page == table:
        raise BadValueError(
            f"--out {table} is the table; the page beside it ends in .html, so name it .csv."
        )
    for path in (table, page):
        check_file(path, own=lambda _: False, inputs=[run.path], force=force)
    sheet = make_sheet(run, n=number, seed=seed)
    write_whole(table, sheet.as_csv())
    write_whole(page, rating_page(sheet))
    lines = [
        f"{counted(len(sheet.items), 'text')}: {sheet.question}",
        f"sheet: {table}, rating 1, 0, or ? for unsure",
        f"page: {page}, which saves the same as ratings.csv",
        f"then: {join(['steerscope', 'ratings', 'import', str(run.path), str(table)])}",
    ]
    finish(as_json, {"sheet": str(table), "page": str(page), "n": len(sheet.items)}, lines)


@ratings.command("import")
def bring_in(
    run_dir: RunDir,
    sheet: Annotated[Path, typer.Argument(help="CSV with the columns id and rating")],
    as_json: Json = False,
) -> None:
    """Read a sheet back: agreement with the judge of the run, and with the sheets of others.

    Examples:
        steerscope ratings import runs/mine sheet.csv
    """
    from steerscope.judges.ratings import read_ratings
    from steerscope.runs.results import Run

    found = read_ratings(Run.open(run_dir), sheet)
    shown = f", {100 * found.shown:.0f} % of them shown" if found.n else ""
    lines = [f"{found.name}: {counted(found.n, 'text')} rated{shown}"]
    judge = "the judge of the run reads no text" if found.with_judge is None else ""
    lines.append(judge or f"with the judge: kappa {_in_words(found.with_judge)}")
    lines += [f"with {name}: kappa {_in_words(kappa)}" for name, kappa in found.between.items()]
    if found.alpha is not None:
        n = 1 + len(found.between)
        lines.append(f"all {n} sheets: Krippendorff's alpha {_in_words(found.alpha)}")
    finish(as_json, asdict(found), lines)


def _in_words(found: Estimate | None) -> str:
    if found is None or found.value != found.value:
        return "unknown"
    if found.low != found.low:
        return f"{found.value:.3g} (no interval: {found.n} distinct prompt)"
    return f"{found} distinct prompts"
