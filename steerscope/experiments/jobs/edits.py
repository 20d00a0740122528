"""Edits of weight spectra against controls of the same size and KL, as a job of an experiment."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.engine.sampling import without_usual
from steerscope.errors import PureGainWarning
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs.job import DRAWN, JUDGED, Job, Machine, Size, Step, Tables, label
from steerscope.figures.files import Plate
from steerscope.models.matrices import WEIGHTS
from steerscope.progress import Track
from steerscope.report import plates
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import Run
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.weights.findings import front_table
from steerscope.studies.weights.measure import OTHER_LAYERS, run_weight_sweep
from steerscope.studies.weights.plan import WeightSweepPlan
from steerscope.texts.chats import as_chat
from steerscope.texts.contrasts import usual_prompts
from steerscope.weights.controls import CONTROLS


@dataclass(frozen=True)
class EditStep:
    """One sweep of weight edits."""

    plan: WeightSweepPlan

    @property
    def name(self) -> str:
        """Model, contrast set and seed."""
        return f"{label(self.plan.model)}-{label(self.plan.contrasts)}-{self.plan.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its numbers but the content of its files."""
        chat = as_chat(self.plan.chat)
        stored = None if chat is None else chat.stored()
        asked = without_usual(asdict(self.plan))
        return {"kind": type(self.plan).__name__, **asked, "chat": stored}

    @property
    def model(self) -> str:
        """The model that it loads."""
        return self.plan.model

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Measure what is missing."""
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", PureGainWarning
            )  # a gain may be asked for, as a control
            return run_weight_sweep(self.plan, out, **machine.loading(), progress=progress)

    def size(self, n_layers: int) -> Size:
        """Edits and steering on the select prompts, and what is stated on the test prompts."""
        p = self.plan
        layers = n_layers if p.layers is None else len(p.layers)
        places = len(p.edits) * (len(p.weights) * layers * len(p.amounts) + len(p.together))
        controls = 2 * ((len(CONTROLS) - 1) * p.n_controls + 2)  # at its size and at its KL; gains
        elsewhere = min(OTHER_LAYERS, n_layers - 1) + len(WEIGHTS) - 1
        stated = 2 * (len(p.edits) * p.shortlist + 2 + controls + elsewhere)  # for either target
        return Size(
            1 + places + 2 * n_layers + round(stated * p.max_test / p.max_select), p.max_select
        )

    def reduced(self, n_texts: int) -> EditStep:
        """One edit at one layer on few texts."""
        p = self.plan
        few: dict[str, Any] = {"max_select": n_texts, "max_test": n_texts, "n_texts": n_texts}
        return EditStep(
            replace(
                p,
                edits=p.edits[:1],
                layers=(p.layers or (0,))[:1],
                amounts=p.amounts[:1],
                n_controls=1,
                **few,
            )
        )


def _steps(e: Experiment) -> list[Step]:
    sizes = {"select": "max_select", "test": "max_test", "nulls": "n_controls", "texts": "n_texts"}
    edits = {"names": "edits", "matrices": "weights", "amounts": "amounts"}
    given = e.given("sample", sizes) | e.given("edits", edits)
    return [
        EditStep(
            WeightSweepPlan(
                model=model,
                contrasts=contrasts,
                prompts=e.prompts or usual_prompts(contrasts),
                capability=e.other,
                **e.loading(),
                layers=e.sites.layers,
                n_new=e.decoding.n_new,
                temperature=e.decoding.temperature,
                **e.narrowing(),
                seed=seed,
                chat=as_chat(e.chat),
                **e.judging(contrasts),
                **given,
            )
        )
        for model, contrasts, seed in product(e.models, e.contrasts, e.seeds)
    ]


def _tables(experiment: Experiment, runs: Sequence[Run]) -> Tables:  # noqa: ARG001 - as all jobs
    parts = [
        front_table(run.table(), effect_of(run), split, groups_of(run)).assign(
            run=run.path.name, split=split
        )
        for run in runs
        for split in ("select", "test")
    ]
    return {"conditions": pd.concat(parts, ignore_index=True)}


def _plates(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:
    wanted = experiment.figures
    return [
        replace(plate, name=f"{run.path.name}-{plate.name}")
        for run in runs
        for plate in plates(run)
        if "all" in wanted or plate.name in wanted
    ]


EDITS = Job(
    name="edits",
    words="edits of weight spectra against controls of the same size and of the same KL",
    takes=frozenset(
        {
            "prompts", "other", "chat", "sites.layers", "edits", *DRAWN, "sample.select", "sample.test",
            "sample.texts", "sample.nulls", *JUDGED,
        }
    ),
    figures=("pareto_test", "pareto_select"),
    steps=_steps,
    tables=_tables,
    plates=_plates,
)  # fmt: skip
