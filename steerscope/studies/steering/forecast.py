"""What a study or a sweep would take: its steps counted, and timed on a short piece of its own work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from steerscope.eigengaps import eigengap
from steerscope.engine.generation import generation_plan
from steerscope.errors import SteerscopeError
from steerscope.models.memory import MemoryPlan
from steerscope.progress import Track, silent
from steerscope.studies.steering.pace import ENOUGH, Pace, pace_of, seconds_of, spread
from steerscope.studies.steering.plan import Plan
from steerscope.studies.steering.prepare import Prepared, prepare
from steerscope.studies.steering.steps import Step, steps_of

_SHARE = 4  # of the prompts, one in so many, for the spectra


@dataclass(frozen=True)
class Forecast:
    """What a plan would take in one process.

    Attributes:
        steps: its parts, with the seconds of each.
        pace: that they were told from.
        start: seconds to load the model and to find the directions, as measured.
        beside: seconds for the spectra of the keys.
        memory: what generation needs at once.
    """

    steps: tuple[tuple[Step, float], ...]
    pace: Pace
    start: float
    beside: float
    memory: MemoryPlan

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.start + self.beside + sum(seconds for _, seconds in self.steps)

    @property
    def more(self) -> float:
        """Seconds on top where doses change in every round, and every null stays near the method to the end."""
        return sum(self.pace.more(step) for step, _ in self.steps)

    @property
    def why_more(self) -> list[str]:
        """When that is so, for the steps that it comes from."""
        return [step.when for step, _ in self.steps if step.more]

    @property
    def texts(self) -> int:
        """Texts that are written."""
        return round(sum(step.texts for step, _ in self.steps))

    @property
    def tokens(self) -> int:
        """Tokens of them."""
        return round(self.texts * self.pace.tokens)


def forecast_study(
    plan: Plan,
    *,
    device: str | None = None,
    memory: str | None = None,
    progress: Track = silent,
) -> Forecast:
    """What a study or a sweep would take; nothing of it is kept.

    The model is loaded and the directions are found, as the run does; then a piece of the run's own
    work, at two lengths of text, is timed for a few seconds. A race is counted as one in which layers keep
    their best doses. The machine may be busier later.

    Raises:
        SteerscopeError: any of the input errors of the run.
    """
    with prepared_to_count(plan, (device, memory), progress) as (bound, start):
        longest = bound.texts.longest(bound.model, plan.n_new)
        pace = pace_of(bound)
        steps = tuple((step, pace.seconds(step)) for step in steps_of(bound.plan, bound))
        needed = generation_plan(bound.model, longest, plan.n_new, sampler=plan.sampler)[0]
        return Forecast(steps, pace, start, beside_of(bound), needed)


@contextmanager
def prepared_to_count(
    plan: Plan, machine: tuple[str | None, str | None], progress: Track
) -> Iterator[tuple[Prepared, float]]:
    """A plan made ready in a folder that is deleted afterwards, and the seconds that it took.

    Args:
        plan: what would be measured.
        machine: device and memory, as in `load_model`.
        progress: shows the loops.

    Raises:
        SteerscopeError: any of the input errors of the run.
    """
    with TemporaryDirectory(prefix="steerscope-") as folder:
        started = perf_counter()
        bound = prepare(plan, Path(folder) / "run", machine, progress)
        yield bound, perf_counter() - started


def beside_of(bound: Prepared) -> float:
    """Seconds for the spectra of all prompts, from those of some."""
    texts = list(dict.fromkeys(p.text for p in bound.texts.prompts.select.prompts))
    some = spread(texts, max(2, len(texts) // _SHARE))
    took = 0.0
    with suppress(SteerscopeError):  # of a model without attention keys there are none
        took = seconds_of(lambda: eigengap(bound.model, some))
        if took < ENOUGH:
            return seconds_of(lambda: eigengap(bound.model, texts))
    return took * len(texts) / len(some)
