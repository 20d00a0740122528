"""One experiment: its runs, then the tables and figures that are functions of their rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from steerscope.errors import BadValueError, RunError, reason
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.identity import RUNS, find_runs, folder_of, runs_of_steps
from steerscope.experiments.inputs import check_inputs
from steerscope.experiments.jobs import JOBS, Machine, Step, find_job
from steerscope.figures.files import Plate, write_plate
from steerscope.progress import Track, silent
from steerscope.report import has_page, write_report
from steerscope.runs.judgements import JUDGEMENTS
from steerscope.runs.outputs import files_in
from steerscope.runs.ownership import owned
from steerscope.runs.parts import lost_parts
from steerscope.runs.printed import replace_printed
from steerscope.runs.records import check_measured
from steerscope.runs.results import Run, has_measured, is_content, measuring
from steerscope.runs.seals import MANIFEST
from steerscope.runs.spreadsheets import as_csv
from steerscope.runs.whole_files import clear_unfinished, write_whole
from steerscope.studies.loading import loaded_once

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
        RunError: the folder holds another experiment.
        SteerscopeError: any of the input errors.
    """
    out, machine = Path(out), machine or Machine()
    _check_workers(experiment, machine)
    with owned(out), _claimed(experiment, out):
        steps = find_job(experiment.job).steps(experiment)
        found = find_runs(steps, out)
        if found.strays:
            raise RunError(
                f"{found.strays[0]} is no run of this experiment; move it elsewhere or delete it."
            )
        with loaded_once():
            for number, (step, run) in enumerate(zip(steps, found.runs, strict=True), start=1):
                if run is not None and is_finished(run):
                    check_unchanged(run, step)
                    continue
                say(f"run {number} of {len(steps)}: {step.name}")
                folder = out / RUNS / folder_of(step) if run is None else run.path
                with measuring(folder):
                    step.make(folder, machine, progress)
        return print_experiment(experiment, out)


def _check_workers(experiment: Experiment, machine: Machine) -> None:
    spreading = sorted(name for name, job in JOBS.items() if job.spreads)
    if not machine.workers.here and experiment.job not in spreading:
        raise BadValueError(
            f"the job {experiment.job!r} is measured by one process; many workers take the jobs "
            f"{' and '.join(spreading)}. Leave the engine local."
        )


def is_finished(run: Run) -> bool:
    """Whether a run was measured to its end, and no part of it was lost since."""
    return (run.path / MANIFEST).is_file() and not lost_parts(run.path)


def check_unchanged(run: Run, step: Step) -> None:
    """Refuse to print a finished run as if it were of files that have changed since.

    A file that is not here any more cannot have changed what was measured.

    Raises:
        RunError: the texts or the weights that the step names are others now.
    """
    is_folder = Path(step.model).is_dir()  # a bundled model, or one of the hub, does not change
    for d in check_inputs(run, weights=is_folder):
        if d.what == "the hash":
            raise RunError(
                f"{run.path} was measured with another content of {d.where}; choose another folder "
                "for this experiment, or delete that run to measure it anew."
            )


def open_experiment(out: str | Path) -> Experiment:
    """The experiment of a folder.

    Raises:
        RunError: it holds none.
    """
    path = Path(out) / FILE
    try:
        return Experiment.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RunError(f"{out} is no folder of an experiment: it has no {FILE}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} does not hold an experiment ({reason(error)}).") from None


def runs_of(experiment: Experiment, out: str | Path) -> list[Run]:
    """The runs of an experiment, in the order of its steps.

    Raises:
        RunError: one is missing.
    """
    return runs_of_steps(find_job(experiment.job).steps(experiment), Path(out))


def tables_of(experiment: Experiment, runs: Sequence[Run]) -> dict[str, str]:
    """What is printed of the runs: the name of each table's file and its CSV."""
    tables = find_job(experiment.job).tables(experiment, runs)
    return {f"{name}.csv": as_csv(table) for name, table in tables.items()}


def plates_of(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:
    """The figures that the experiment asks for."""
    return find_job(experiment.job).plates(experiment, runs)


def print_experiment(experiment: Experiment, out: str | Path) -> list[Path]:
    """Write every table and figure of an experiment whose runs are there; no model is needed.

    Raises:
        RunError: a run is missing, or not as it was measured.
    """
    out = Path(out)
    runs = runs_of(experiment, out)
    for run in runs:
        check_measured(run)
    reports = [write_report(run) for run in runs if has_page(run)]
    written = []
    for name, text in tables_of(experiment, runs).items():
        written.append(out / "tables" / name)
        write_whole(written[-1], text)
    for plate in plates_of(experiment, runs):
        written += write_plate(plate, out / "figures", experiment.formats)
    replace_printed(out, [out / FILE, *written])
    return [*reports, *written]


@contextmanager
def _claimed(experiment: Experiment, out: Path) -> Iterator[None]:
    """The folder as this experiment's; as it was if nothing could be measured.

    Raises:
        RunError: it is another's.
    """
    new = not out.exists()
    _check_claim(experiment, out)
    before, measured = _text_of(out / FILE), _measured(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {out} ({error.strerror}); choose another.") from None
    with owned(out, ours=True):
        clear_unfinished(out)
        try:
            # What the file leaves open stays open: a job may have a default of its own.
            text = experiment.model_dump_json(indent=2, exclude_unset=True)
            write_whole(out / FILE, text + "\n")
            yield
        except BaseException:
            if new and not _has_measured(out) and not any(out.rglob(JUDGEMENTS)):
                shutil.rmtree(out, ignore_errors=True)
            elif before is not None and _measured(out) == measured:
                write_whole(out / FILE, before)  # as if it had not been tried
            raise


def _check_claim(experiment: Experiment, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file and no experiment's folder; choose another.")
    if not (out / FILE).is_file():
        if out.exists() and any(map(is_content, files_in(out))):
            raise RunError(f"{out} exists and is no experiment's folder; choose another.")
    elif _has_measured(out):  # where nothing is measured, another experiment may begin
        there = open_experiment(out)
        measured = there.model_copy(update={k: getattr(experiment, k) for k in PRINTED})
        if measured != experiment and not _goes_on(measured, experiment, out):
            differing = [
                k for k in type(experiment).model_fields
                if getattr(measured, k) != getattr(experiment, k)
            ]  # fmt: skip
            raise RunError(
                f"{out} holds an experiment with other settings ({', '.join(differing)}); choose "
                "another folder or delete it."
            )


def _goes_on(there: Experiment, experiment: Experiment, out: Path) -> bool:
    """Whether only models, concepts or seeds are others, and every run there is one of its own."""
    if there.model_copy(update={k: getattr(experiment, k) for k in LISTED}) != experiment:
        return False
    return not find_runs(find_job(experiment.job).steps(experiment), out).strays


def _measured(out: Path) -> set[str]:
    return {path.name for path in (out / RUNS).glob("*") if has_measured(path)}


def _has_measured(out: Path) -> bool:
    return bool(_measured(out))


def _text_of(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


PRINTED = ("figures", "formats", "metrics", "question")  # what may change without measuring again
LISTED = (
    "models",
    "contrasts",
    "seeds",
)  # what may gain values, or lose those that were not measured
