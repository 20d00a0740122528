"""What an experiment would cost: conditions, bytes, and seconds estimated from a short probe."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from steerscope.engine.generation import generation_plan
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs import Machine, Size, Step, find_job
from steerscope.experiments.jobs.studies import StudyStep
from steerscope.models.memory import MemoryPlan
from steerscope.progress import silent
from steerscope.studies.loading import Loading, loaded_once
from steerscope.studies.steering.forecast import forecast_study

_PROBES = (4, 16)  # texts
_PROMPT_TOKENS = 64  # what a prompt is taken to have where none was read


@dataclass(frozen=True)
class Forecast:
    """What one run of an experiment would take.

    Attributes:
        name: of the run.
        size: conditions and texts.
        memory: what generation needs at once.
        seconds: estimated, in proportion to a probe on a few texts; None without a probe.
    """

    name: str
    size: Size
    memory: MemoryPlan
    seconds: float | None


def forecast(
    experiment: Experiment, *, machine: Machine | None = None, probe: bool = True
) -> list[Forecast]:
    """What each run of an experiment would take; nothing of it is kept.

    A study or a sweep is counted and timed as in `forecast_study`. For other jobs a few conditions are
    measured on few texts and on more, and a line through both times is read off at the full size. It
    is an estimate: the machine may be busier later.
    """
    machine = machine or Machine()
    with loaded_once():
        return list(_forecasts(experiment, machine, probe))


def _forecasts(experiment: Experiment, machine: Machine, probe: bool) -> Iterator[Forecast]:
    paces: dict[str, _Pace] = {}
    for step in find_job(experiment.job).steps(experiment):
        started = perf_counter()
        n_layers, memory = _asked_of(step, experiment, machine)
        start = perf_counter() - started
        size, seconds = step.size(n_layers), None
        if probe and isinstance(step, StudyStep):
            found = forecast_study(step.plan, **machine.loading())
            cells = sum(part.conditions for part, _ in found.steps if part.texts)
            size, seconds = Size(cells, math.ceil(found.texts / cells)), start + found.seconds
        elif probe:
            if step.model not in paces:
                paces[step.model] = _pace(step, machine, n_layers)
            seconds = start + paces[step.model].seconds(size)
        yield Forecast(step.name, size, memory, seconds)


def _asked_of(step: Step, experiment: Experiment, machine: Machine) -> tuple[int, MemoryPlan]:
    """Layers of the model of a step, and what generation needs; only `loaded_once` keeps the model."""
    model = Loading(step.model, **experiment.loading(), **machine.loading()).load()
    longest = min(_PROMPT_TOKENS, model.shape.n_context - experiment.decoding.n_new)
    memory, _ = generation_plan(model, longest, experiment.decoding.n_new)
    return model.shape.n_layers, memory


@dataclass(frozen=True)
class _Pace:
    """Seconds to begin with, and for one condition on one text."""

    fixed: float
    each: float

    def seconds(self, size: Size) -> float:
        return self.fixed + self.each * size.work


def _pace(step: Step, machine: Machine, n_layers: int) -> _Pace:
    """A line through the time of few texts and that of more."""
    works, times = [], []
    with TemporaryDirectory() as folder:
        for n_texts in _PROBES:
            small = step.reduced(n_texts)
            started = perf_counter()
            small.make(Path(folder) / str(n_texts), machine, silent)
            times.append(perf_counter() - started)
            works.append(small.size(n_layers).work)
    each = (times[1] - times[0]) / (works[1] - works[0]) if works[1] > works[0] else 0.0
    each = each if each > 0 else times[1] / works[1]  # the first was slowed by something else
    return _Pace(max(0.0, times[1] - each * works[1]), each)
