"""Transfer to everyday dilemmas, as a job of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from steerscope.errors import BadValueError
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs.job import Job, Machine, Size, Step, Tables, label
from steerscope.figures.files import Plate
from steerscope.progress import Track
from steerscope.report.tables_only import DILEMMAS as FRAMES
from steerscope.report.tables_only import of_all_runs
from steerscope.runs.results import Run
from steerscope.studies.dilemmas.measure import run_dilemmas
from steerscope.studies.dilemmas.plan import DilemmaPlan
from steerscope.texts.chats import Chat, as_chat


@dataclass(frozen=True)
class DilemmaStep:
    """One transfer."""

    plan: DilemmaPlan
    chat: Chat | None = None

    @property
    def name(self) -> str:
        """Model, contrast set and seed."""
        return f"{label(self.plan.model)}-{label(self.plan.contrasts)}-{self.plan.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its numbers but the content of its files."""
        stored = None if self.chat is None else self.chat.stored()
        return {"kind": type(self.plan).__name__, **asdict(self.plan), "chat": stored}

    @property
    def model(self) -> str:
        """The model that it loads."""
        return self.plan.model

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Measure what is missing."""
        return run_dilemmas(out, self.plan, chat=self.chat, **machine.loading(), progress=progress)

    def size(self, n_layers: int) -> Size:  # noqa: ARG002 - as of every step
        """Every technique at every coefficient and at both matched ones, on both sides of a dilemma."""
        cells = 1 + len(self.plan.techniques) * (len(self.plan.coefficients) + 2)
        return Size(cells, 2 * (self.plan.n_dilemmas or 1000))

    def reduced(self, n_texts: int) -> DilemmaStep:
        """One direction on few dilemmas."""
        few = replace(
            self.plan, techniques=("random",), n_dilemmas=n_texts, coefficients=(-1.0, 1.0)
        )
        return DilemmaStep(few, self.chat)


def _steps(e: Experiment) -> list[Step]:
    if e.dilemmas is None:
        raise BadValueError(
            "the job 'dilemmas' needs a file of dilemmas; name it as dilemmas: FILE."
        )
    given = e.given("sample", {"test": "n_dilemmas", "pairs": "n_pairs"})
    given |= e.given("matched", {"kl": "kl"}) | e.given("doses", {"values": "coefficients"})
    return [
        DilemmaStep(
            DilemmaPlan(
                model=model,
                contrasts=contrasts,
                dilemmas=e.dilemmas,
                value=e.value,
                begin=e.begin,
                layers=e.sites.layers,
                **e.loading(),
                seed=seed,
                **given,
            ),
            as_chat(e.chat),
        )
        for model, contrasts, seed in product(e.models, e.contrasts, e.seeds)
    ]


def _tables(experiment: Experiment, runs: Sequence[Run]) -> Tables:  # noqa: ARG001 - as all jobs
    return of_all_runs(FRAMES, runs)


def _plates(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:  # noqa: ARG001 - none yet
    return []


DILEMMAS = Job(
    name="dilemmas",
    words="whether what is learned from pairs moves choices in everyday dilemmas",
    takes=frozenset(
        {
            "dilemmas", "value", "begin", "chat", "sites.layers", "matched.kl", "doses.values", "sample.test",
            "sample.pairs",
        }
    ),
    figures=(),
    steps=_steps,
    tables=_tables,
    plates=_plates,
)  # fmt: skip
