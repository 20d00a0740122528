"""Jobs whose settings are those of one plan, given under `plan` in the file: budgets, drift, routing, carrying, features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from steerscope.calls import misfit
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.experiments.experiment import OWN, Experiment, own_judge
from steerscope.experiments.jobs.job import Job, Machine, Size, Step, Tables, label
from steerscope.figures.files import Plate
from steerscope.judges.registry import check_judge
from steerscope.progress import Track
from steerscope.report.tables_only import (
    FEATURES_PARETO,
    FRAMES,
    LENS_DOTS,
    frames_as_plates,
    of_all_runs,
)
from steerscope.runs.results import Run
from steerscope.studies.beginnings import settings_of
from steerscope.studies.budgets.measure import run_budgets
from steerscope.studies.budgets.plan import BudgetPlan
from steerscope.studies.carrying.measure import run_carrying
from steerscope.studies.carrying.plan import CarryPlan
from steerscope.studies.features.plan import FeaturePlan
from steerscope.studies.lenses.measure import run_lenses
from steerscope.studies.lenses.plan import LensPlan
from steerscope.studies.planned import OfModel
from steerscope.studies.routing.measure import run_routing
from steerscope.studies.routing.plan import RoutePlan
from steerscope.texts.chats import Chat, as_chat

_OURS = {"model", "backbone", "dtype", "seed", "contrasts"}  # what a file says outside of `plan`


class Measure(Protocol):
    """Measures a plan into a run."""

    def __call__(
        self,
        path: Path,
        plan: Any,
        *,
        chat: Chat | None,
        device: str | None,
        memory: str | None,
        progress: Track,
    ) -> Run:
        """The run of the plan at that place."""
        ...


@dataclass(frozen=True)
class Kind:
    """One kind of plan, as a job.

    Attributes:
        plan: its class.
        measure: makes the run.
        cells: conditions of a plan.
        items: the field with the number of its texts.
        fewest: how many times the texts of a probe it needs at least.
        figures: that its runs have.
    """

    plan: type[OfModel]
    measure: Measure
    cells: Callable[[Any], int]
    items: str
    fewest: int = 1
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanStep:
    """One plan on one model."""

    kind: Kind
    plan: OfModel
    chat: Chat | None = None

    @property
    def name(self) -> str:
        """Model, contrast set if there is one, and seed."""
        named = [label(self.plan.model)]
        if contrasts := getattr(self.plan, "contrasts", None):
            named.append(label(contrasts))
        return f"{'-'.join(named)}-{self.plan.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its numbers but the content of its files."""
        return settings_of(self.plan, self.chat)

    @property
    def model(self) -> str:
        """The model that it loads."""
        return self.plan.model

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Measure it."""
        return self.kind.measure(
            out, self.plan, chat=self.chat, **machine.loading(), progress=progress
        )

    def size(self, n_layers: int) -> Size:  # noqa: ARG002 - as of every step
        """Its conditions on its texts."""
        return Size(self.kind.cells(self.plan), getattr(self.plan, self.kind.items))

    def reduced(self, n_texts: int) -> PlanStep:
        """The same on few texts."""
        few: dict[str, Any] = {self.kind.items: self.kind.fewest * n_texts}
        return replace(self, plan=replace(self.plan, **few))


def _made(plan: type[OfModel], told: dict[str, Any]) -> OfModel:
    """A plan of what a file says, each setting of the kind that it has to be."""
    if told.get("judge") == OWN and "contrasts" in told:
        told["judge"] = own_judge(told["contrasts"])
    elif told.get("judge") is not None and not misfit(plan, (), told):
        check_judge(told["judge"])
    if wrong := misfit(plan, (), told):
        raise BadValueError(wrong)
    return plan(**told)


def _job(name: str, words: str, kind: Kind) -> Job:
    def steps(e: Experiment) -> list[Step]:
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in e.plan.items()
        }
        known = [f.name for f in fields(kind.plan)]
        for setting in given:
            if setting in _OURS or setting not in known:
                raise UnknownNameError("setting of the plan", setting, set(known) - _OURS)
        pairs = [{"contrasts": c} for c in e.contrasts] or [{}]
        told = e.loading() | given
        return [
            PlanStep(
                kind, _made(kind.plan, {"model": m, "seed": seed, **more, **told}), as_chat(e.chat)
            )
            for m, more, seed in product(e.models, pairs, e.seeds)
        ]

    def tables(experiment: Experiment, runs: Sequence[Run]) -> Tables:  # noqa: ARG001 - as all jobs
        return of_all_runs(FRAMES[kind.plan.__name__], runs)

    def plates(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:
        return [
            replace(plate, name=f"{run.path.name}-{plate.name}")
            for run in runs
            for plate in frames_as_plates(run)
            if {"all", plate.name} & set(experiment.figures)
        ]

    return Job(name, words, frozenset({"plan", "chat"}), kind.figures, steps, tables, plates)


def _run_features(
    path: Path,
    plan: Any,
    *,
    chat: Chat | None,
    device: str | None,
    memory: str | None,
    progress: Track,
) -> Run:
    from steerscope.studies.features.run_steering import run_features  # seconds to import

    return run_features(path, plan, chat=chat, device=device, memory=memory, progress=progress)


PLANNED = (
    _job(
        "budget",
        "whether asking for an end within a budget of tokens helps",
        Kind(BudgetPlan, run_budgets, lambda plan: 1 + len(plan.budgets), "n_prompts", 6),
    ),
    _job(
        "drift",
        "which topics that nobody asked for a vector brings in, by vocabularies of one's own",
        Kind(LensPlan, run_lenses, lambda plan: 4, "n_prompts", figures=(LENS_DOTS,)),  # noqa: ARG005
    ),
    _job(
        "routing",
        "vectors switched by the phase of a prompt, against the best single one and asking",
        Kind(RoutePlan, run_routing, lambda plan: 3, "n_test"),  # noqa: ARG005
    ),
    _job(
        "carrying",
        "a vector of one model mapped into another and judged there",
        Kind(CarryPlan, run_carrying, lambda plan: 4 + 3 * plan.n_null_seeds, "n_test"),
    ),
    _job(
        "features",
        "steering by the features of an autoencoder, against the mean difference at one KL",
        Kind(
            FeaturePlan,
            _run_features,
            lambda plan: 1 + len(plan.kls) * (7 + 2 * plan.n_nulls),
            "n_test",
            figures=(FEATURES_PARETO,),
        ),
    ),
)
