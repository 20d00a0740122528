"""Whether an experiment's file, its runs and what lies beside them belong together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from steerscope.errors import RunError, SteerscopeError
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.identity import RUNS, find_runs, folder_of
from steerscope.experiments.jobs import check, find_job
from steerscope.experiments.running import (
    FILE,
    open_experiment,
    plates_of,
    runs_of,
    tables_of,
)
from steerscope.figures.files import Plate
from steerscope.runs.difference import Difference
from steerscope.runs.printed import PRINTED

_KNOWN = {FILE, PRINTED, RUNS, "tables", "figures"}


def check_experiment(folder: Path) -> Iterator[Difference]:
    """The experiment's file, a run for each of its steps, none beside them, and nothing strange."""
    for path in sorted(folder.iterdir()):
        if path.name not in _KNOWN and not path.name.startswith("."):
            yield Difference(path.name, "the file", "there", "none: it is not of the experiment")
    try:
        experiment = open_experiment(folder)
        mistake = check(experiment)
        steps = find_job(experiment.job).steps(experiment)
    except SteerscopeError as error:
        yield Difference(FILE, "the experiment", "not usable", str(error))
        return
    if mistake is not None:
        yield Difference(FILE, "the experiment", "not possible", mistake[1])
    try:
        found = find_runs(steps, folder)
    except RunError as error:
        yield Difference(RUNS, "a run", "damaged", str(error))
        return
    for step, run in zip(steps, found.runs, strict=True):
        if run is None:
            where = f"{RUNS}/{folder_of(step)}"
            yield Difference(
                where, "the run", "missing", f"{step.name} with the settings of {FILE}"
            )
    for path in found.strays:
        where = f"{RUNS}/{path.name}"
        yield Difference(where, "the run", "there", f"none: no step of {FILE} is it")


def expected_of(folder: Path) -> tuple[dict[str, str], list[Plate]]:
    """The tables and figures that the runs of an experiment give.

    Raises:
        SteerscopeError: they give none.
    """
    experiment: Experiment = open_experiment(folder)
    runs = runs_of(experiment, folder)
    return tables_of(experiment, runs), plates_of(experiment, runs)
