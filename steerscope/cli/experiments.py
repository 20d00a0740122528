"""Commands about experiments as files: run one, and verify what was printed of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steerscope.cli.forecasts import in_words
from steerscope.cli.many import Many, next_for
from steerscope.cli.options import grouped
from steerscope.cli.shared import Device, Json, Memory, finish, refuse_unused, say_aside, table
from steerscope.texts.showing import counted

if TYPE_CHECKING:
    from steerscope.experiments import Experiment, Forecast
    from steerscope.experiments.jobs import Machine


@grouped
def run(
    experiment: Annotated[
        str, typer.Argument(help="experiment file, or the name of a bundled one")
    ],
    *,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="folder, or address such as s3://; default data/runs/experiments/NAME",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the plan with an estimate, measure nothing")
    ] = False,
    device: Device = None,
    memory: Memory = None,
    many: Many,
    as_json: Json = False,
) -> None:
    """Make every run, table and figure of an experiment file.

    Examples:
        steerscope run quickstart --dry-run
        steerscope run experiment.yaml --out results
    """
    from steerscope.experiments import load_experiment, run_experiment
    from steerscope.experiments.jobs import Machine
    from steerscope.progress import bar

    wanted = load_experiment(experiment)
    if dry_run:
        refuse_unused({"out": out} | many.asked(), "--dry-run writes nothing")
        _plan(wanted, Machine(device, memory), as_json)
        return
    out = out or str(Path("data/runs/experiments") / wanted.name)
    with many.measuring(out) as (kept, workers):
        machine = Machine(device, memory, workers)
        written = run_experiment(wanted, kept.folder, machine=machine, progress=bar, say=say_aside)
        paths = [kept.shown(p) for p in written]
        said = _sentences(wanted, kept.folder)
    finish(
        as_json,
        {"out": out, "sentences": said, "written": paths},
        [
            *(f"{name}: {verdict}" for name, verdict in said.items()),
            *(f"written: {p}" for p in paths),
        ],
        next_for(out, "verify"),
    )


def _sentences(experiment: Experiment, folder: str | Path) -> dict[str, str]:
    """The verdict on each run of a study, by its name; of other jobs the tables and figures tell."""
    from steerscope.audits import sentence
    from steerscope.experiments.running import runs_of

    if experiment.job != "study":
        return {}
    return {run.path.name: sentence(run) for run in runs_of(experiment, folder)}


def verify(
    folder: Annotated[Path, typer.Argument(help="folder of a run or of an experiment")],
    weights: Annotated[
        bool, typer.Option(help="load the model to compare its weights as well")
    ] = True,
    as_json: Json = False,
) -> None:
    """Compute again every printed number, and hash every input; leaves with 2 if anything differs.

    Examples:
        steerscope verify results
    """
    from steerscope.verification import verify as verified

    found = verified(folder, weights=weights)
    differing = found.differences
    looked_at = (
        (found.n_rows, "row"),
        (found.n_files, "file"),
        (found.n_printed, "printed number"),
    )
    seen = ", ".join(counted(n, one) for n, one in looked_at)
    aside = sorted(set(found.not_compared))
    lines = [f"differs: {d}" for d in differing[:_SHOWN]]
    if len(differing) > _SHOWN:
        lines.append(f"and {len(differing) - _SHOWN} more; --json prints all of them")
    words = "nothing differs" if not differing else _that_differ(len(differing))
    numbers = {"rows": found.n_rows, "files": found.n_files, "printed": found.n_printed}
    result = {**numbers, "differences": [asdict(d) for d in differing]}
    result |= {"not_compared": aside}
    lines += [f"not compared: {name}" for name in aside]
    finish(as_json, result, [*lines, f"verified {folder}: {seen}; {words}"])
    if differing:
        raise SystemExit(2)


_SHOWN = 30


def _that_differ(n: int) -> str:
    return f"{counted(n, 'thing')} {'differs' if n == 1 else 'differ'}"


def _plan(experiment: Experiment, machine: Machine, as_json: bool) -> None:
    from steerscope.experiments import forecast

    found = forecast(experiment, machine=machine)
    rows = [
        (f.name, f"{f.size.cells:,}", f"{f.size.items:,}", _bytes(f), in_words(f.seconds))
        for f in found
    ]
    total = sum(f.seconds or 0.0 for f in found)
    columns = ("run", "conditions", "texts each", "memory at once", "estimated time")
    runs = counted(len(found), "run")
    title = f"{experiment.name}: {experiment.question}"
    last = f"{runs}, about {in_words(total)} in all: an estimate for one process, from a short probe on this machine now."
    result = {"experiment": experiment.name, "runs": [asdict(f) for f in found], "seconds": total}
    finish(as_json, result, [*table(title, columns, rows), last])


def _bytes(found: Forecast) -> str:
    from steerscope.models.memory import shown

    return shown(found.memory.total)
