"""One experiment: its runs, then the tables and figures that are functions of their rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from steerscope.errors import RunError
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs import Machine, find_job
from steerscope.figures.files import Plate, write_plate
from steerscope.progress import Track, silent
from steerscope.report import KINDS, write_report
from steerscope.runs.ownership import owned
from steerscope.runs.results import Run
from steerscope.runs.seals import MANIFEST
from steerscope.runs.whole_files import write_whole

FILE = "experiment.json"


def run_experiment(
    experiment: Experiment,
    out: str | Path,
    *,
    machine: Machine | None = None,
    progress: Track = silent,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005 - silent
) -> list[Path]:
    """Measure whatever is missing of an experiment, then print it; the files that were printed.

    Args:
        experiment: what to measure.
        out: the folder of the experiment.
        machine: device and memory.
        progress: shows the loops.
        say: is told which run begins.

    Raises:
        SteerscopeError: any of the input errors, or the folder holds another experiment.
    """
    out = Path(out)
    _claim(experiment, out)
    steps = find_job(experiment.job).steps(experiment)
    for number, step in enumerate(steps, start=1):
        folder = out / "runs" / step.name
        if not (folder / MANIFEST).is_file():
            say(f"run {number} of {len(steps)}: {step.name}")
            with owned(folder):
                step.make(folder, machine or Machine(), progress)
    return print_experiment(experiment, out)


def open_experiment(out: str | Path) -> Experiment:
    """The experiment of a folder.

    Raises:
        RunError: it holds none.
    """
    try:
        return Experiment.model_validate(json.loads((Path(out) / FILE).read_text()))
    except FileNotFoundError:
        raise RunError(f"{out} is no folder of an experiment: it has no {FILE}.") from None
    except ValueError as error:
        raise RunError(f"{Path(out) / FILE} does not hold an experiment ({error}).") from None


def runs_of(experiment: Experiment, out: str | Path) -> list[Run]:
    """The runs of an experiment, in the order of its steps.

    Raises:
        RunError: one is missing.
    """
    steps = find_job(experiment.job).steps(experiment)
    return [Run.open(Path(out) / "runs" / step.name) for step in steps]


def tables_of(experiment: Experiment, runs: Sequence[Run]) -> dict[str, str]:
    """What is printed of the runs: the name of each table's file and its CSV."""
    tables = find_job(experiment.job).tables(experiment, runs)
    return {f"{name}.csv": as_csv(table) for name, table in tables.items()}


def plates_of(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:
    """The figures that the experiment asks for."""
    return find_job(experiment.job).plates(experiment, runs)


def as_csv(table: pd.DataFrame) -> str:
    """A table in full precision, the same bytes on every system."""
    return table.to_csv(index=False, lineterminator="\n")


def print_experiment(experiment: Experiment, out: str | Path) -> list[Path]:
    """Write every table and figure of an experiment whose runs are there; no model is needed."""
    out = Path(out)
    runs = runs_of(experiment, out)
    written = [write_report(run) for run in runs if run.configuration.get("kind") in KINDS]
    for name, text in tables_of(experiment, runs).items():
        written.append(out / "tables" / name)
        write_whole(written[-1], text)
    for plate in plates_of(experiment, runs):
        written += write_plate(plate, out / "figures", experiment.formats)
    return written


def _claim(experiment: Experiment, out: Path) -> None:
    """Make the folder this experiment's, or refuse one that is another's."""
    if (out / FILE).is_file():
        there = open_experiment(out)
        measured = there.model_copy(update={k: getattr(experiment, k) for k in PRINTED})
        if measured != experiment:
            differing = [
                k for k in type(experiment).model_fields
                if getattr(measured, k) != getattr(experiment, k)
            ]  # fmt: skip
            raise RunError(
                f"{out} holds an experiment with other settings ({', '.join(differing)}); choose "
                "another folder or delete it."
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists and is no experiment's folder; choose another.")
    # What the file leaves open stays open: a job may have a default of its own.
    text = experiment.model_dump_json(indent=2, exclude_unset=True)
    write_whole(out / FILE, text + "\n")


PRINTED = ("figures", "formats", "metrics", "question")  # what may change without measuring again
