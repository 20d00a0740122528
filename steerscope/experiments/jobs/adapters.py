"""Adapters trained on pairs, against steering along a direction and a random one, as a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs.job import (
    JUDGED,
    Job,
    Machine,
    Size,
    Step,
    Tables,
    as_asked,
    label,
    load,
)
from steerscope.figures.files import Plate
from steerscope.models.chat_templates import in_chat
from steerscope.progress import Track
from steerscope.report import plates as page_plates
from steerscope.runs.results import Run
from steerscope.studies.judging import question_of
from steerscope.studies.transfer.findings import OUTCOMES, against, transfer_rows, transfer_table
from steerscope.studies.transfer.matching import steering_by_validation
from steerscope.studies.transfer.plan import COEFFICIENTS, TransferPlan
from steerscope.studies.transfer.recipe import AdapterRecipe
from steerscope.studies.transfer.runs import run_transfer
from steerscope.studies.transfer.techniques import steering_technique, weights_technique
from steerscope.texts.chats import Chat, as_chat
from steerscope.texts.contrasts import load_contrasts, prompts_for, usual_prompts
from steerscope.weights.adapter import save_adapter

FIGURES = ("transfer_responses", "transfer_at_one_kl")


@dataclass(frozen=True)
class AdapterStep:
    """One adapter on one model and concept, trained and judged.

    Attributes:
        model: to be loaded.
        contrasts: the concept.
        recipe: how the adapter is made.
        plan: what is measured.
        judging: judge, labels and endpoint under the names of a plan; empty for the usual judge.
        layers: among which that of the direction is chosen; None for all.
    """

    model: str
    contrasts: str
    prompts: str | None
    recipe: AdapterRecipe
    plan: TransferPlan
    dtype: str
    backbone: str
    chat: Chat | None = None
    judging: Mapping[str, str | None] = field(default_factory=dict)
    bos: str = "auto"
    revision: str | None = None
    layers: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """Model, contrast set and seed."""
        return f"{label(self.model)}-{label(self.contrasts)}-{self.recipe.kind}-{self.plan.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its numbers but the content of its files."""
        plan = asdict(self.plan)
        del plan["about"], plan["named"]
        judging = {k: v for k, v in self.judging.items() if v and k != "judge_url"}
        return {"kind": "TransferPlan", **plan, **self._about, **judging}

    @property
    def _about(self) -> dict[str, Any]:
        """What a run of it says beside the plan of a transfer."""
        chat = None if self.chat is None else self.chat.stored()
        names = ("model", "contrasts", "prompts", "dtype", "backbone", "bos", "revision")
        named = {name: getattr(self, name) for name in names}
        named["direction_layers"] = self.layers and list(self.layers)
        told = {k: v for k, v in self.judging.items() if v and k == "judge_labels"}
        return as_asked({**named, "adapter": asdict(self.recipe), "chat": chat, **told})

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Train the adapter, find the direction on the same pairs, and measure both and a random one."""
        model = load(self, machine)
        bare, seed = load_contrasts(self.contrasts), self.plan.seed
        prompts = in_chat(model, prompts_for(bare, self.prompts), self.chat)
        pairs = in_chat(model, bare, self.chat)
        parts = pairs.split(seed)
        splits = (parts.fit, parts.select)
        checkpoint = out.with_name(f".{out.name}.training")
        out.parent.mkdir(parents=True, exist_ok=True)
        # before the training, so that a layer that is not there costs none
        steering = steering_by_validation(
            model, pairs, prompts, "mean_diff", self.plan, splits=splits, layers=self.layers
        )
        found, _ = self.recipe.learn(
            model, splits, seed=seed, checkpoint=checkpoint, progress=progress
        )
        layer = int(steering.where.rsplit(".", 1)[1])
        null = steering_technique(model, parts.fit, "random", layer, seed=seed)
        techniques = [weights_technique(found), steering, null]
        named = {"contrasts": self.contrasts, "prompts": self.prompts}
        plan = replace(self.plan, about=self._about, named=named)
        most = (1 + 3 * (len(plan.coefficients) + 2)) * plan.n_prompts  # plain, and the three
        question = question_of(self.judging, pairs, prompts.split(seed), plan.n_new, seed, most)
        _, _, run = run_transfer(model, techniques, (pairs, prompts), plan, question, out, progress)
        assert run is not None  # there is a folder for it
        save_adapter(out / "adapter.safetensors", found)
        run.seal()  # with the adapter in it
        checkpoint.unlink(missing_ok=True)
        return run

    def size(self, n_layers: int) -> Size:  # noqa: ARG002 - as of every step
        """Conditions on held-out prompts; the training takes about as long as this many."""
        trained = self.recipe.epochs * max(1, self.recipe.pairs) // max(1, self.plan.n_prompts)
        return Size(3 * (len(self.plan.coefficients) + 2) + 4 * trained, self.plan.n_prompts)

    def reduced(self, n_texts: int) -> AdapterStep:
        """One short training on few texts."""
        recipe = replace(self.recipe, epochs=1, pairs=max(2, n_texts))
        few = replace(
            self.plan, n_prompts=n_texts, n_pairs=n_texts, n_kl_prompts=4, coefficients=(-1.0, 1.0)
        )
        layers = None if self.layers is None else self.layers[:1]
        return replace(self, recipe=recipe, plan=few, layers=layers)


def _steps(e: Experiment) -> list[Step]:
    given = e.given(
        "sample", {"test": "n_prompts", "pairs": "n_pairs", "kl_prompts": "n_kl_prompts"}
    )
    given |= e.given("matched", {"kl": "kl"})
    if "n_new" in e.decoding.model_fields_set:
        given["n_new"] = e.decoding.n_new
    both = sorted({c for v in e.doses.values or () for c in (v, -v)})
    return [
        AdapterStep(
            model,
            contrasts,
            e.prompts or usual_prompts(contrasts),
            AdapterRecipe(**e.adapter),
            TransferPlan(
                coefficients=tuple(both) or COEFFICIENTS,
                temperature=e.decoding.temperature,
                seed=seed,
                **given,
            ),
            chat=as_chat(e.chat),
            judging=e.judging(contrasts),
            layers=e.sites.layers,
            **e.loading(),
        )
        for model, contrasts, seed in product(e.models, e.contrasts, e.seeds)
    ]


def _tables(experiment: Experiment, runs: Sequence[Run]) -> Tables:  # noqa: ARG001 - as all jobs
    found: Tables = {}
    conditions, compared = [], []
    for run in runs:
        rows, first = transfer_rows(run), run.configuration["techniques"][0]["name"]
        conditions.append(transfer_table(rows).assign(run=run.path.name))
        compared += [
            against(rows, metric, first).assign(metric=metric, run=run.path.name)
            for metric in OUTCOMES
            if metric in set(rows.metric)
        ]
    found["conditions"] = pd.concat(conditions, ignore_index=True)
    found["at_one_kl"] = pd.concat(compared, ignore_index=True)
    return found


def _plates(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:
    return [
        replace(plate, name=f"{run.path.name}-{plate.name}")
        for run in runs
        for plate in page_plates(run)
        if {"all", plate.name} & set(experiment.figures)
    ]


ADAPTERS = Job(
    name="adapter",
    words="an adapter of the weights against steering and a random direction, at one KL",
    takes=frozenset(
        {
            "adapter", "prompts", "chat", "sites.layers", "doses.values", "matched.kl", "decoding.n_new",
            "decoding.temperature", "sample.test", "sample.pairs", "sample.kl_prompts", *JUDGED,
        }
    ),
    figures=FIGURES,
    steps=_steps,
    tables=_tables,
    plates=_plates,
)  # fmt: skip
