"""What an experiment can measure: one file a job, each registered under its name."""

from __future__ import annotations

from steerscope.errors import SteerscopeError, UnknownNameError
from steerscope.experiments.experiment import WITHOUT_PAIRS, Experiment
from steerscope.experiments.jobs.adapters import ADAPTERS
from steerscope.experiments.jobs.combinations import COMBINATIONS
from steerscope.experiments.jobs.comparison import COMPARISON
from steerscope.experiments.jobs.dilemmas import DILEMMAS
from steerscope.experiments.jobs.edits import EDITS
from steerscope.experiments.jobs.job import COMMON, Job, Machine, Size, Step
from steerscope.experiments.jobs.overlaps import OVERLAP
from steerscope.experiments.jobs.planned import PLANNED
from steerscope.experiments.jobs.predictors import PREDICTORS
from steerscope.experiments.jobs.premise import PREMISE
from steerscope.experiments.jobs.studies import STUDY, SWEEP

JOBS: dict[str, Job] = {
    job.name: job
    for job in (
        STUDY,
        SWEEP,
        PREDICTORS,
        COMPARISON,
        COMBINATIONS,
        OVERLAP,
        EDITS,
        DILEMMAS,
        ADAPTERS,
        PREMISE,
        *PLANNED,
    )
}


def find_job(name: str) -> Job:
    """The job of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in JOBS:
        raise UnknownNameError("job", name, JOBS)
    return JOBS[name]


def check(experiment: Experiment) -> tuple[tuple[str | int, ...], str] | None:
    """The first thing that the job of an experiment cannot do: its place and a sentence, or None."""
    try:
        job = find_job(experiment.job)
    except UnknownNameError as error:
        return ("job",), f"job: {error}"
    common = COMMON - {"contrasts"} if job.name in WITHOUT_PAIRS else COMMON
    for setting in sorted(experiment.settings()):
        part = setting.split(".")[0]
        if not {setting, part} & (job.takes | common):
            takes = ", ".join(sorted(job.takes))
            words = f"the job {job.name!r} does not use {setting!r}; leave it out. It uses {takes}."
            return tuple(setting.split(".")), words
    for number, name in enumerate(experiment.figures):
        if name not in {*job.figures, "all"}:
            return ("figures", number), f"figures: {UnknownNameError('figure', name, job.figures)}"
    return _plans(experiment, job)


def _plans(experiment: Experiment, job: Job) -> tuple[tuple[str | int, ...], str] | None:
    try:
        job.steps(experiment)
    except SteerscopeError as error:
        said = str(error)
        return next((place for word, place in _PLACES.items() if word in said), ("job",)), said
    return None


# Where the plan of a job finds a mistake, by a word of what it says.
_PLACES = {
    "dose": ("doses",),
    "unknown edit": ("edits", "names"),
    "unknown weight": ("edits", "matrices"),
    "amount": ("edits", "amounts"),
}


__all__ = ["JOBS", "Job", "Machine", "Size", "Step", "check", "find_job"]
