"""Runs of commands that keep them only where a folder is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from steerscope.runs.results import Run

KeptOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="run directory; default none, and only the result"),
]


@contextmanager
def run_folder(out: Path | None) -> Iterator[Path]:
    """The folder of a run: the one that is named, else one that is gone afterwards.

    Raises:
        RunError: there is something else than a run.
    """
    if out is None:
        with TemporaryDirectory() as nowhere:
            yield Path(nowhere) / "run"
        return
    from steerscope.runs.results import check_run_folder

    yield check_run_folder(out)


def kept(run: Run, out: Path | None) -> list[str]:
    """Keep tables and figures of a run with it where it stays; what is said of that."""
    if out is None:
        return []
    from steerscope.report import draw_figures, write_tables

    write_tables(run)
    draw_figures(run, ("html",))
    return [f"saved: {out}"]
