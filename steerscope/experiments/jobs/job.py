"""What a job is: how an experiment becomes runs, and what is printed of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from steerscope.engine.sampling import NARROWING
from steerscope.experiments.experiment import Experiment
from steerscope.figures.files import Plate
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track
from steerscope.runs.results import Run
from steerscope.studies.loading import Loading, Named
from steerscope.studies.workers import HERE, Workers

COMMON = frozenset(
    {
        "name", "question", "job", "models", "contrasts", "seeds", "figures", "formats", "dtype",
        "backbone", "bos", "revision",
    }
)  # fmt: skip


DRAWN = frozenset(f"decoding.{name}" for name in ("n_new", "temperature", *NARROWING))
JUDGED = frozenset({"judge", "judge_labels", "judge_url"})  # of a job that reads texts


@dataclass(frozen=True)
class Machine:
    """Where a run is made: device and memory as in `load_model`, and who measures."""

    device: str | None = None
    memory: str | None = None
    workers: Workers = HERE

    def loading(self) -> dict[str, Any]:
        """What of it `load_model` takes."""
        return {"device": self.device, "memory": self.memory}


def load(named: Named, machine: Machine) -> LensModel:
    """The model of a step, on a machine."""
    return Loading.of(named, machine.device, machine.memory).load()


def as_asked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a step as a run states them: of loading only what is not usual."""
    usual = {"bos": "auto", "revision": None}
    return {k: v for k, v in settings.items() if k not in usual or v != usual[k]}


@dataclass(frozen=True)
class Size:
    """How much a step measures: conditions, and the texts that each is measured on."""

    cells: int
    items: int

    @property
    def work(self) -> int:
        """Conditions times texts, to which the time is about proportional."""
        return self.cells * self.items


@runtime_checkable
class Step(Protocol):
    """One run of an experiment."""

    @property
    def name(self) -> str:
        """What the run is called, for people; two runs may be called the same."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its numbers but the content of its files, as its run states it."""
        ...

    @property
    def model(self) -> str:
        """The model that it loads."""
        ...

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Measure what is missing of the run."""
        ...

    def size(self, n_layers: int) -> Size:
        """How much it measures on a model of so many layers."""
        ...

    def reduced(self, n_texts: int) -> Step:
        """A few conditions of it on a few texts, to see how long they take."""
        ...


Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Job:
    """One kind of measurement.

    Attributes:
        name: as an experiment file calls it.
        words: what it measures.
        takes: settings that it reads beside the common ones, parts with a dot.
        figures: names of the figures that it can draw.
        steps: the runs of an experiment.
        tables: what is printed of the runs, each a pure function of their rows.
        plates: the figures of the runs, likewise.
        spreads: whether its runs can be measured by many workers.
    """

    name: str
    words: str
    takes: frozenset[str]
    figures: tuple[str, ...]
    steps: Callable[[Experiment], list[Step]]
    tables: Callable[[Experiment, Sequence[Run]], Tables]
    plates: Callable[[Experiment, Sequence[Run]], list[Plate]]
    spreads: bool = False


def label(name_or_path: str) -> str:
    """The name of a model or text file for people, fit for the name of a folder."""
    name = Path(name_or_path).name.removesuffix(".jsonl").removesuffix(".txt")
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip(".-")[:60] or "unnamed"


def labels(names: Sequence[str]) -> dict[str, str]:
    """What each of several models or text files is called, so that no two are called the same."""
    short = {name: label(name) for name in names}  # one name in several runs counts once
    count = Counter(short.values())
    return {name: said if count[said] == 1 else name for name, said in short.items()}
