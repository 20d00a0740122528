"""Who predicts steerability, as a job: one run for each model, concept and seed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from steerscope import figures
from steerscope.engine.matched_kl import Matching
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs.job import (
    Job,
    Machine,
    Size,
    Step,
    Tables,
    as_asked,
    label,
    labels,
    load,
)
from steerscope.figures.files import Plate
from steerscope.models.chat_templates import in_chat
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track
from steerscope.runs.keeping import UNFINISHED, KeptIn
from steerscope.runs.results import Row, Run, plain_row
from steerscope.studies.inputs import stated_inputs
from steerscope.studies.predictors.across_models import FEWEST, across_models
from steerscope.studies.predictors.findings import (
    EXPECTED_SIGNS,
    leave_one_model_out,
    predictor_league,
)
from steerscope.studies.predictors.measure import predictor_table
from steerscope.studies.predictors.over_layers import with_outcome
from steerscope.studies.predictors.power import power_over_layers
from steerscope.studies.predictors.thresholds import judge_threshold, roc_curve
from steerscope.texts.chats import Chat, as_chat
from steerscope.texts.contrasts import load_contrasts

OUTCOMES = {
    "effect_relative": "steerability at a matched length",
    "effect_kl": "steerability at a matched KL",
}
_KEYS = ("model", "concept", "layer")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictorStep:
    """Diagnostics and measured steerability of every layer for one concept.

    Attributes:
        model: to be loaded.
        contrasts: the concept.
        matching: at which doses layers are compared.
        n_pairs: pairs used of each split, at most.
    """

    model: str
    contrasts: str
    seed: int
    matching: Matching
    n_pairs: int
    dtype: str
    backbone: str
    chat: Chat | None = None
    bos: str = "auto"
    revision: str | None = None

    @property
    def name(self) -> str:
        """Model, contrast set and seed."""
        return f"{label(self.model)}-{label(self.contrasts)}-{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its numbers but the content of its files."""
        chat = None if self.chat is None else self.chat.stored()
        return as_asked({"kind": "PredictorStep", **asdict(self), "chat": chat})

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Measure the layers of the concept that are missing."""
        model = load(self, machine)
        contrasts = load_contrasts(self.contrasts)
        said = in_chat(model, contrasts, self.chat).sha256
        settings = self.settings | {"contrasts_sha256": said}
        provenance = provenance_of(model) | stated_inputs(asdict(self))
        run = Run.start(out, settings, provenance=provenance)
        kept = KeptIn(out / UNFINISHED)
        table = predictor_table(
            model,
            [contrasts],
            n_pairs=self.n_pairs,
            matching=self.matching,
            seed=self.seed,
            progress=progress,
            keep=kept,
            chat=self.chat,
        )
        run.append(rows_of_layers(table))
        run.seal()
        kept.clear()
        return run

    def size(self, n_layers: int) -> Size:
        """Both signs of every dose at every layer, on the pairs."""
        return Size(2 * n_layers * len(self.matching.doses), self.n_pairs)

    def reduced(self, n_texts: int) -> PredictorStep:
        """The same on few pairs."""
        return replace(self, n_pairs=min(n_texts, self.n_pairs))


def rows_of_layers(table: pd.DataFrame) -> list[Row]:
    """One row for each layer and column of a table of predictors."""
    rows = []
    for record in table.to_dict("records"):
        for metric in [c for c in table.columns if c not in _KEYS]:
            unit = "nats" if metric.startswith("effect") else "as the diagnostic has it"
            row = plain_row(metric, unit, float(record[metric]))
            rows.append(
                replace(
                    row,
                    cell=f"layer {record['layer']}",
                    concept=str(record["concept"]),
                    method="mean_diff",
                    layer=int(record["layer"]),
                )
            )
    return rows


def layers_of_rows(runs: Sequence[Run]) -> pd.DataFrame:
    """The table of predictors that was stored, one row for each model, concept and layer."""
    parts = []
    called = labels([run.configuration["model"] for run in runs])
    for run in runs:
        wide = run.table().pivot(index=["concept", "layer"], columns="metric", values="value")
        wide.columns.name = None
        parts.append(wide.reset_index().assign(model=called[run.configuration["model"]]))
    return pd.concat(parts, ignore_index=True)


def without_layers(runs: Sequence[Run], columns: Sequence[str]) -> tuple[str, ...]:
    """Names of the runs of which no layer has a number in each of some columns of the predictors."""
    known = (layers_of_rows([run]).reindex(columns=columns).to_numpy(float) for run in runs)
    return tuple(
        run.path.name
        for run, values in zip(runs, known, strict=True)
        if not np.isfinite(values).all(axis=1).any()
    )


def _steps(e: Experiment) -> list[Step]:
    usual = Matching()
    matching = Matching(e.doses.values or usual.doses, e.matched.relative, e.matched.kl or usual.kl)
    n_pairs, chat = e.sample.pairs or 40, as_chat(e.chat)
    return [
        PredictorStep(model, contrasts, seed, matching, n_pairs, chat=chat, **e.loading())
        for model, contrasts, seed in product(e.models, e.contrasts, e.seeds)
    ]


def _known(layers: pd.DataFrame) -> list[str]:
    """The diagnostics that every layer has."""
    return [d for d in EXPECTED_SIGNS if d in layers.columns and layers[d].notna().all()]


def _league(layers: pd.DataFrame, outcome: str) -> pd.DataFrame:
    return predictor_league(layers, _known(layers), outcome)


def _over_models(layers: pd.DataFrame) -> Tables:
    """The mean over models, and what the choice of the other models loses on each; none for a few models."""
    if layers.model.nunique() < FEWEST:
        return {}
    known = _known(layers)
    told = [name for name in OUTCOMES if with_outcome(layers, name).model.nunique() >= FEWEST]
    means = {f"models-{name}": across_models(layers, known, name) for name in told}
    left = {f"left-out-{name}": leave_one_model_out(layers, known, name) for name in told}
    return means | left


def _tables(experiment: Experiment, runs: Sequence[Run]) -> Tables:  # noqa: ARG001 - as all jobs
    layers = layers_of_rows(runs)
    some = [d for d in EXPECTED_SIGNS if d in layers.columns and layers[d].notna().any()]
    if out := [d for d in some if d not in _known(layers)]:
        _log.warning("in no league, since they are unknown at a layer: %s", ", ".join(out))
    leagues = {f"league-{name}": _league(layers, name) for name in OUTCOMES}
    others = {"power": _power_table(layers), "threshold": _threshold_table(layers)}
    return {"layers": layers, **leagues, **_over_models(layers), **others}


def _power_table(layers: pd.DataFrame) -> pd.DataFrame:
    """Which correlations these layers would tell, of one diagnostic and of the number that was tried."""
    known = len(_known(layers))
    return pd.DataFrame(
        [
            {"outcome": name, "rho": rho, "diagnostics": n}
            | {"power": power_over_layers(layers, name, rho, n)}
            for name in OUTCOMES
            for rho in (0.3, 0.5, 0.7)
            for n in (1, known)
        ]
    )


def _threshold_table(layers: pd.DataFrame) -> pd.DataFrame:
    """The published threshold of the eigengap as a test of layers, for each outcome that is known."""
    if not _has_gaps(layers):
        return pd.DataFrame(columns=["diagnostic", "outcome", "threshold"])
    found = [judge_threshold(layers, outcome=name) for name in OUTCOMES]
    return pd.DataFrame([asdict(t) | {"words": t.words} for t in found])


def _has_gaps(layers: pd.DataFrame) -> bool:
    return "weakest_gap" in layers and bool(layers.weakest_gap.notna().any())


def _plates(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:
    layers, found = layers_of_rows(runs), []
    for name, words in OUTCOMES.items():
        if {"all", f"league-{name}"} & set(experiment.figures):
            league = _league(layers, name)
            if league.rho.isna().all():
                continue  # no layer reached the KL: there is nothing to draw
            n = int(league.n_points.max())
            caption = (
                f"Signed rank correlation over layers, within models and concepts, n = {n}; bars "
                "are 95 % intervals, as wide as what orders of the layers without meaning give. The sign "
                "in brackets was stated beforehand."
            )
            drawn = figures.predictor_league(league, outcome=words)
            found.append(Plate(f"league-{name}", drawn, caption))
        if _has_gaps(layers) and {"all", f"roc-{name}"} & set(experiment.figures):
            judged = judge_threshold(layers, outcome=name)
            if not judged.n:
                continue
            roc = figures.threshold_roc(roc_curve(layers, outcome=name), judged)
            found.append(Plate(f"roc-{name}", roc, judged.words))
    return found


PREDICTORS = Job(
    name="predictors",
    words="diagnostics of every layer against how far it can be steered",
    takes=frozenset({"chat", "doses.values", "matched", "sample.pairs"}),
    figures=tuple(f"{kind}-{name}" for kind in ("league", "roc") for name in OUTCOMES),
    steps=_steps,
    tables=_tables,
    plates=_plates,
)
