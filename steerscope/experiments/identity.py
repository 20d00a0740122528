"""Which run is which: known by all that decides its numbers; names are only for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerscope.engine.sampling import NARROWING
from steerscope.errors import RunError
from steerscope.experiments.jobs.job import Step
from steerscope.runs.judgements import JUDGEMENTS
from steerscope.runs.results import RUN, Run
from steerscope.studies.steering.plan import StudyPlan

# What a run does not state where nothing was asked for.
_USUAL: dict[str, Any] = {
    "chat": None, "bos": "auto", "revision": None, "all_layers": False, "judge": None,
    "judge_labels": None, "instruction": None, "examples": StudyPlan.examples, "second_model": None,
    "samples": 1, "direction_layers": None, **NARROWING,
}  # fmt: skip
_ASIDE = {"judge_url"}  # of the machine, and no part of a run
# What was not there when folders got their names.
_NEWER = {"judge": None, "judge_labels": None, "search": "auto", "direction_layers": None}
_RESOLVED = {"search": "auto"}  # what a run states as what it came to
RUNS = "runs"  # folder of an experiment


@dataclass(frozen=True)
class Found:
    """The runs of an experiment's folder, by the steps that they are of.

    Attributes:
        runs: for each step in turn; None for one that was not begun.
        strays: folders that are of no step.
    """

    runs: tuple[Run | None, ...]
    strays: tuple[Path, ...]


def folder_of(step: Step) -> str:
    """The folder for a step: its name, and a hash of all its settings, which makes it its own."""
    asked = {k: v for k, v in _as_stored(step).items() if k not in _NEWER or v != _NEWER[k]}
    text = json.dumps(asked, sort_keys=True)
    return f"{step.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def find_runs(steps: Sequence[Step], out: Path) -> Found:
    """The run of each step, known by its settings, whatever its folder is called.

    Raises:
        RunError: the description of a run is damaged.
    """
    there = [Run.open(p.parent) for p in sorted((out / RUNS).glob(f"*/{RUN}"))]
    taken: set[Path] = set()
    runs = []
    for step in steps:
        mine = [r for r in there if r.path not in taken and _is_of(r, step)]
        own = [r for r in mine if r.path.name == folder_of(step)]
        run = next(iter([*own, *mine]), None)
        runs.append(run)
        if run is not None:
            taken.add(run.path)
    folders = [p for p in sorted((out / RUNS).glob("*")) if not p.name.startswith(".")]
    return Found(tuple(runs), tuple(p for p in folders if p not in taken and not _is_begun(p)))


def runs_of_steps(steps: Sequence[Step], out: Path) -> list[Run]:
    """The run of each step.

    Raises:
        RunError: one is missing, or its description is damaged.
    """
    found = []
    for step, run in zip(steps, find_runs(steps, out).runs, strict=True):
        if run is None:
            raise RunError(f"{out / RUNS} has no run {step.name} of these settings; run it first.")
        found.append(run)
    return found


def _as_stored(step: Step) -> dict[str, Any]:
    settings = {k: v for k, v in step.settings.items() if k not in _ASIDE}
    return json.loads(json.dumps(settings))


def _is_of(run: Run, step: Step) -> bool:
    """Whether a run has the settings of a step, as far as it knew them when it was made."""
    wanted, there = _as_stored(step), run.configuration
    return there.get("kind") == wanted["kind"] and all(
        there.get(key, _USUAL.get(key, value)) == value or (key, value) in _RESOLVED.items()
        for key, value in wanted.items()
    )


def _is_begun(folder: Path) -> bool:
    """A folder in which nothing is measured yet, as a kill at the first moment or a judge that failed leaves it."""
    return folder.is_dir() and all(
        p.name.startswith(".") or p.name == JUDGEMENTS for p in folder.iterdir()
    )
