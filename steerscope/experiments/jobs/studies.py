"""The main job and the sweep as jobs of an experiment: a run for each model, concept, method, seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs.job import JUDGED, Job, Machine, Size, Step, Tables, label
from steerscope.figures.files import Plate
from steerscope.progress import Track
from steerscope.report import plates
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import Run
from steerscope.statistics import Estimate
from steerscope.studies.rows import METRICS
from steerscope.studies.steering.findings import Findings, find
from steerscope.studies.steering.measure import run_study, run_sweep
from steerscope.studies.steering.plan import Plan, StudyPlan, SweepPlan
from steerscope.studies.steering.responses import PLAIN, metric_mean
from steerscope.texts.chats import as_chat
from steerscope.texts.contrasts import usual_prompts

_NONE = Estimate(math.nan, math.nan, math.nan, 0)
_KEYS = ("run", "model", "contrasts", "method", "seed")


@dataclass(frozen=True)
class StudyStep:
    """One study or sweep."""

    plan: Plan

    @property
    def name(self) -> str:
        """Model, contrast set, method and seed."""
        p = self.plan
        return f"{label(p.model)}-{label(p.contrasts)}-{p.method}-{p.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its numbers but the content of its files."""
        chat = as_chat(self.plan.chat)
        stored = None if chat is None else chat.stored()
        return {"kind": type(self.plan).__name__, **asdict(self.plan), "chat": stored}

    @property
    def model(self) -> str:
        """The model that it loads."""
        return self.plan.model

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Measure what is missing."""
        options: dict[str, Any] = {
            **machine.loading(),
            "progress": progress,
            "workers": machine.workers,
        }
        if isinstance(self.plan, StudyPlan):
            return run_study(self.plan, out, **options)
        assert isinstance(self.plan, SweepPlan)
        return run_sweep(self.plan, out, **options)

    def size(self, n_layers: int) -> Size:
        """Conditions of all splits; half of the prompts have room for a dose of either sign."""
        p = self.plan
        layers = n_layers if p.layers is None else len(p.layers)
        if isinstance(p, StudyPlan):
            select = layers * (2 * len(p.doses) + p.n_sweep_controls)
            test = 2 * len(p.doses) * (1 + 2 * p.n_controls)
            share = p.max_test / p.max_select
            asked = 3 if p.examples else 1
            return Size(1 + select + asked + round((test + asked) * share), p.max_select)
        assert isinstance(p, SweepPlan)
        cells = layers * (1 + p.n_sweep_controls) * sum(d != 0 for d in p.doses)
        return Size(1 + cells, p.max_select)

    def reduced(self, n_texts: int) -> StudyStep:
        """Two doses at one layer, on few prompts."""
        p, layers = self.plan, (self.plan.layers or (0,))[:1]
        few: dict[str, Any] = {"max_select": n_texts, "max_test": n_texts, "n_sweep_controls": 0}
        if isinstance(p, SweepPlan):
            doses = tuple(d for d in p.doses if d)[:2]
            return StudyStep(replace(p, layers=layers, doses=doses, **few))
        assert isinstance(p, StudyPlan)
        shared = {k: v for k, v in asdict(p).items() if k in SweepPlan.__dataclass_fields__}
        signed = (p.reference_dose, -p.reference_dose)
        return StudyStep(SweepPlan(**{**shared, "layers": layers, "doses": signed, **few}))


def _steps(experiment: Experiment, kind: type[StudyPlan | SweepPlan]) -> list[Step]:
    e = experiment
    sizes = {
        "select": "max_select",
        "test": "max_test",
        "nulls": "n_controls",
        "layer_nulls": "n_sweep_controls",
    }
    given = e.given("sample", sizes) | e.given(
        "doses", {"values": "doses", "unit": "unit", "reference": "reference_dose"}
    )
    if kind is StudyPlan:
        given |= {name: v for name in _OF_A_STUDY if (v := getattr(e, name)) is not None}
        given |= e.given("sample", {"chosen_nulls": "nulls"})
    if kind is StudyPlan and "doses" in given and "reference_dose" not in given:
        usual = StudyPlan.reference_dose
        given["reference_dose"] = usual if usual in given["doses"] else given["doses"][0]
    return [
        StudyStep(
            kind(
                model=model,
                contrasts=contrasts,
                method=method,
                seed=seed,
                prompts=e.prompts or usual_prompts(contrasts),
                **e.loading(),
                stream=e.sites.stream,
                layers=e.sites.layers,
                read=e.read,
                scope=e.scope,
                chat=as_chat(e.chat),
                n_new=e.decoding.n_new,
                temperature=e.decoding.temperature,
                samples=e.decoding.samples,
                second_model=e.second_model,
                **e.narrowing(),
                **e.judging(contrasts),
                **given,
            )
        )
        for model, contrasts, method, seed in product(e.models, e.contrasts, e.methods, e.seeds)
    ]


def _tables(experiment: Experiment, runs: Sequence[Run]) -> Tables:
    found = [(run, find(run)) for run in runs]
    tables = {
        "answers": pd.concat([_answer(r, f) for r, f in found], ignore_index=True),
        "conditions": pd.concat([_keyed(r, f, f.summary) for r, f in found], ignore_index=True),
        "needed": pd.concat([_keyed(r, f, f.needed) for r, f in found], ignore_index=True),
        "metrics": pd.concat([_metrics(r, f, experiment) for r, f in found], ignore_index=True),
    }
    heads = [_keyed(r, f, f.heads) for r, f in found if f.heads is not None]
    return tables | ({"eigengap": pd.concat(heads, ignore_index=True)} if heads else {})


def _keyed(run: Run, f: Findings, table: pd.DataFrame) -> pd.DataFrame:
    """A table with the run and what it is of in front."""
    labels = (run.path.name, f.plan.model, f.plan.contrasts, f.plan.method, f.plan.seed)
    own = table.drop(columns=[c for c in ("model", "contrasts", "run") if c in table])
    front = {k: v for k, v in zip(_KEYS, labels, strict=True) if k not in own}
    return own.assign(**front)[[*front, *own.columns]]


def _answer(run: Run, f: Findings) -> pd.DataFrame:
    c = f.chosen
    row: dict[str, Any] = {
        "layer": c.layer,
        "dose_natural": c.dose_natural,
        "dose_relative": c.dose_relative,
        "dose_absolute": c.dose_absolute,
        "kl_nats": f.kl,
        "p_corrected": c.p_corrected,
        "n_cells": c.n_cells,
        "broken": c.broken,
        "unit": f.effect.unit,
    }
    for name in ("selected", "stated", "mirrored", "over_random", "over_shuffled"):
        found = c.effect if name == "selected" else getattr(f, name)
        row |= _flat(name, found or _NONE)
    return _keyed(run, f, pd.DataFrame([row]))


def _flat(name: str, estimate: Estimate) -> dict[str, float]:
    return {
        name: estimate.value,
        f"{name}_low": estimate.low,
        f"{name}_high": estimate.high,
        f"{name}_n": estimate.n,
    }


def _metrics(run: Run, f: Findings, experiment: Experiment) -> pd.DataFrame:
    """Each metric under the plain and under the chosen condition, on the prompts of the latter."""
    table = run.table()
    split = "test" if f.stated else "select"
    cell = f.summary.cell[
        (f.summary.method == f.plan.method)
        & (f.summary.layer == f.chosen.layer)
        & ((f.summary.dose_natural - f.chosen.dose_natural).abs() < 1e-9)
    ].iloc[0]
    here = table[(table.split == split) & (table.cell == cell)]
    wanted = experiment.metrics or METRICS
    rows = []
    for metric in [m for m in wanted if (here.metric == m).any()]:
        for name, which in (("plain", PLAIN), ("steered", cell)):
            like = cell if which == PLAIN else None
            found = metric_mean(
                table, metric, split=split, cell=which, like=like, groups=groups_of(run)
            )
            rows.append({"split": split, "condition": name, "metric": metric} | asdict(found))
    return _keyed(run, f, pd.DataFrame(rows))


def _plates(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:
    wanted = experiment.figures
    return [
        replace(plate, name=f"{run.path.name}-{plate.name}")
        for run in runs
        for plate in plates(run)
        if "all" in wanted or plate.name in wanted
    ]


_OF_A_STUDY = ("other", "search", "instruction", "examples", "smallest_share", "smallest_nats")
_SWEPT = (
    "layer_sweep",
    "sweet_spot_map",
    "dose_fan",
    "kl_by_depth",
    "preference_tells",
    "eigengap_heads",
    "eigengap_predicts",
    "layer_league",
)
_TAKES = frozenset(
    {
        "prompts", "methods", "sites.stream", "sites.layers", "doses.values", "decoding", "read", "scope", "chat",
        "metrics", "sample.select", "sample.layer_nulls", "second_model", *JUDGED,
    }
)  # fmt: skip

STUDY = Job(
    name="study",
    words="where, how hard and whether, stated on held-out prompts",
    takes=_TAKES
    | {"doses.reference", "sample.test", "sample.nulls", "sample.chosen_nulls", *_OF_A_STUDY},
    figures=(*_SWEPT, "dose_response", "side_effects", "token_effects"),
    steps=lambda e: _steps(e, StudyPlan),
    tables=_tables,
    plates=_plates,
    spreads=True,
)
SWEEP = Job(
    name="sweep",
    words="a grid of layers and doses",
    takes=_TAKES | {"doses.unit"},
    figures=_SWEPT,
    steps=lambda e: _steps(e, SweepPlan),
    tables=_tables,
    plates=_plates,
    spreads=True,
)
