"""From a model to rows: what every technique does to its choices in dilemmas."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from steerscope.engine.choices import Choices, first_token_choices
from steerscope.engine.score import log_likelihoods_under, mean_kl
from steerscope.models.chat_templates import ChatTemplate, in_chat
from steerscope.models.lens_model import LensModel
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track, silent
from steerscope.runs.begun import begun_with, without_newer
from steerscope.runs.results import NOT_FINITE, Row, Run, measuring
from steerscope.steering.interventions import Cell
from steerscope.steering.prompting import Prompting, is_prompting
from steerscope.studies.beginnings import load_planned
from steerscope.studies.bench import cell_row
from steerscope.studies.dilemmas.data import Dilemma, lowered, question, read_dilemmas
from steerscope.studies.dilemmas.findings import KIND, PLAIN
from steerscope.studies.dilemmas.plan import STEERED, DilemmaPlan
from steerscope.studies.inputs import stated_inputs
from steerscope.studies.transfer.findings import operator_of
from steerscope.studies.transfer.matching import matched_coefficients, steering_by_validation
from steerscope.studies.transfer.plan import TransferPlan
from steerscope.studies.transfer.techniques import (
    Technique,
    steering_technique,
    trained_technique,
    weights_technique,
)
from steerscope.texts.chats import Chat, Conversation, Message
from steerscope.texts.contrasts import ContrastPair, ContrastSet, Prompt, PromptSet, load_contrasts
from steerscope.weights.adapter import (
    AdapterDesign,
    FullTrainee,
    LearnedDesign,
    Objective,
    Sizes,
    TrainingPlan,
    frozen_ruler,
    train_adapter,
)
from steerscope.weights.adapter.linear import has_matrix
from steerscope.weights.places import Place

_OBJECTIVE = Objective(
    aim="preference", beta=0.3, gamma=5.0, coherence=0.0, kl=3.0, kl_margin=0.05, monotonicity=0.1
)
_RATES = {"svd_adapter": 1e-2, "lora": 5e-3, "fine_tuning": 5e-5}
_EXAMPLES = 3  # texts of a class that a prompting shows
_KL_QUESTIONS = 24


def run_dilemmas(
    path: str | Path,
    plan: DilemmaPlan,
    *,
    chat: Chat | None = None,
    device: str | None = None,
    memory: str | None = None,
    model: LensModel | None = None,
    progress: Track = silent,
) -> Run:
    """What every technique, learned from the pairs, does to the choices of a model, into a run.

    Directions, layers and adapters come from the fit and select splits of the pairs alone. The matched
    coefficients are those that come to the KL on the questions of the first 24 dilemmas, which are judged
    too: what techniques do to reading a question decides them, and no choice is looked at.

    Args:
        path: the run's folder.
        plan: what is measured.
        chat: asks in the chat template; None for plain text.
        device: as in `load_model`.
        memory: as in `load_model`.
        model: the model, if it is loaded already.
        progress: shows the loops.

    Raises:
        ContrastError: the pairs or the dilemmas cannot be read.
        RunError: the folder holds another run, or something else.
    """
    loaded = model or load_planned(plan, device=device, memory=memory)
    dilemmas = read_dilemmas(plan.dilemmas, plan.n_dilemmas, plan.value)
    spoken = load_contrasts(plan.contrasts)
    contrasts = in_chat(loaded, spoken, chat)
    configuration = {
        "kind": KIND,
        **asdict(plan),
        **_as_typed(path, plan),
        **({} if chat is None else {"chat": chat.stored()}),
        "template": contrasts.template,
        "contrasts_sha256": contrasts.sha256,
        "dilemmas_sha256": hashlib.sha256(Path(plan.dilemmas).read_bytes()).hexdigest(),
        "labels": {d.name: dict(d.labels) for d in dilemmas},
    }
    with measuring(path):
        said = provenance_of(loaded) | stated_inputs({"contrasts": plan.contrasts})
        wanted = without_newer(configuration, path, {"chat"})
        run = Run.start(path, wanted, provenance=said)
        asked = _Asked(loaded, dilemmas, chat, plan)
        if not _done(run, PLAIN):
            run.append(asked.rows(Technique(PLAIN, 0, lambda c: Cell()), [(0.0, False)]))  # noqa: ARG005
        teacher = _Teacher(loaded, (spoken, contrasts), plan)
        for name in progress(list(plan.techniques), "measuring techniques"):
            if _done(run, name):
                continue
            technique = teacher.technique(name)
            given = [-1.0, 1.0] if name == "prompting" else list(plan.coefficients)
            conditions = [(c, False) for c in given]
            if name != "prompting":
                ends = matched_coefficients(loaded, technique, asked.calibration, plan.kl)
                conditions += [(c, True) for c in ends if math.isfinite(c)]
            run.append(asked.rows(technique, conditions))
        run.seal()
    return run


def _as_typed(path: str | Path, plan: DilemmaPlan) -> dict[str, str]:
    """The value as a run from before has it, which kept it as it was typed."""
    there = begun_with(path).get("value", plan.value)
    return {"value": there} if lowered(there) == plan.value else {}


def _done(run: Run, technique: str) -> bool:
    """Whether the run has a technique, whose rows are stored together."""
    return any((run.path / "rows").glob("*.parquet")) and technique in set(run.table().method)


class _Asked:
    """Both actions of every dilemma as questions."""

    def __init__(
        self, model: LensModel, dilemmas: Sequence[Dilemma], chat: Chat | None, plan: DilemmaPlan
    ) -> None:
        self.model, self.dilemmas, self.plan = model, dilemmas, plan
        write = _written(model, chat, plan.begin)
        self.act = [write(question(d, d.act, plan.answers)) for d in dilemmas]
        self.omit = [write(question(d, d.omit, plan.answers)) for d in dilemmas]

    @property
    def calibration(self) -> list[str]:
        """Questions on which coefficients are matched, of which no answer is read: the KL is to be that of dilemmas."""
        return self.act[:_KL_QUESTIONS]

    def rows(self, technique: Technique, conditions: Sequence[tuple[float, bool]]) -> list[Row]:
        """One row per condition, dilemma and metric."""
        cells = [technique.cell(c) for c, _ in conditions]
        both = first_token_choices(self.model, [*self.act, *self.omit], self.plan.answers, cells)
        n = len(self.dilemmas)
        kl = [math.nan] * len(cells) if any(map(is_prompting, cells)) else self._kl(cells)
        nats = self._nats(cells)
        rows: list[Row] = []
        for number, (c, matched) in enumerate(conditions):
            for item, values in enumerate(_values(both, number, n)):
                values |= {"nll": nats[number][item]}
                finite = math.isfinite(values["mass"]) and math.isfinite(values["nll"])
                status = "ok" if finite else NOT_FINITE
                rows += [
                    self._row(technique, (c, matched), (metric, item), value, kl[number], status)
                    for metric, value in values.items()
                ]
        return rows

    def _kl(self, cells: Sequence[Cell]) -> list[float]:
        return mean_kl(self.model, self.act, cells).tolist()

    def _nats(self, cells: Sequence[Cell]) -> list[list[float]]:
        """Nats per token of each situation: what a technique does to reading it."""
        plain = [Cell() if is_prompting(c) else c for c in cells]
        scores = log_likelihoods_under(self.model, self.act, plain)
        return [[-float(s.double().mean()) for s in row] for row in scores]

    def _row(
        self,
        technique: Technique,
        condition: tuple[float, bool],
        what: tuple[str, int],
        value: float,
        kl: float,
        status: str,
    ) -> Row:
        (c, matched), (metric, item) = condition, what
        unit = "nats" if metric in {"log_odds", "nll"} else "share"
        blank = cell_row(Cell(), self.plan.value, "test", (metric, unit, item), value, kl=kl)
        return replace(
            blank,
            cell=PLAIN
            if technique.name == PLAIN
            else f"{technique.name} {c:.9g}" + " matched" * matched,
            method=technique.name,
            operator=operator_of(matched),
            dose_natural=c,
            seed=self.plan.seed,
            status=status,
        )


def _values(both: Choices, number: int, n: int) -> list[dict[str, float]]:
    """By dilemma: the log-odds of acting, in which a leaning to Yes cancels, and the mass of an answer."""
    odds: Float[np.ndarray, " prompt"] = both.log_odds[number]
    mass, answered = both.mass[number], both.answered[number]
    return [
        {
            "log_odds": float(odds[i] - odds[n + i]) / 2,
            "mass": float(mass[i] + mass[n + i]) / 2,
            "answered": float(answered[i] * answered[n + i]),
        }
        for i in range(n)
    ]


def _written(model: LensModel, chat: Chat | None, begin: str) -> Any:
    """How a question is put, up to where the choice is said."""
    if chat is None:
        return lambda text: f"{text}\n\n{begin}"
    template = ChatTemplate(model.tokenizer, chat)
    return lambda text: template(Conversation((Message("user", text), Message("assistant", begin))))


def _texts(pair: ContrastPair) -> tuple[str, str]:
    return str(pair.positive), str(pair.negative)


class _Teacher:
    """Makes every technique from the training pairs."""

    def __init__(
        self, model: LensModel, sets: tuple[ContrastSet, ContrastSet], plan: DilemmaPlan
    ) -> None:
        spoken, contrasts = sets  # as they are, and as the model reads them
        self.model, self.contrasts, self.plan = model, contrasts, plan
        parts = contrasts.split(plan.seed)
        first = replace(parts.fit, pairs=parts.fit.pairs[: plan.n_pairs])
        some = max(2, plan.n_pairs // 3)
        self.fit, self.select = first, replace(parts.select, pairs=parts.select.pairs[:some])
        as_spoken = dict(zip(map(_texts, contrasts.pairs), spoken.pairs, strict=True))
        self.shown = [as_spoken[_texts(p)] for p in self.fit.pairs[:_EXAMPLES]]
        self._layer: int | None = None

    def technique(self, name: str) -> Technique:
        """The technique of that name."""
        if name in STEERED:
            return steering_technique(self.model, self.fit, name, self.layer, seed=self.plan.seed)
        if name == "prompting":
            return Technique(name, 0, self._prompting, where="before the question")
        return self._trained(name)

    @property
    def layer(self) -> int:
        """Where the mean difference moves the preference of the select pairs most at the KL."""
        if self.plan.layers is not None and len(self.plan.layers) == 1:
            return self.plan.layers[0]  # nothing to choose
        if self._layer is None:
            texts = tuple(
                Prompt(p.negative) for p in self.contrasts.split(self.plan.seed).select.pairs
            )
            prompts = PromptSet("pairs", texts, template=self.contrasts.template)
            chosen = steering_by_validation(
                self.model, self.contrasts, prompts, "mean_diff",
                TransferPlan(kl=self.plan.kl, seed=self.plan.seed), splits=(self.fit, self.select),
                layers=self.plan.layers,
            )  # fmt: skip
            self._layer = int(chosen.where.rsplit(".", 1)[1])
        return self._layer

    def _prompting(self, coefficient: float) -> Cell:
        """Texts of the class shown before the question."""
        side = "positive" if coefficient > 0 else "negative"
        shown = tuple(getattr(p, side) for p in self.shown)
        return Cell((Prompting(examples=shown),)) if coefficient else Cell()

    def _trained(self, name: str) -> Technique:
        plan, model, splits = self.plan, self.model, (self.fit, self.select)
        n = model.shape.n_layers
        ruler = frozen_ruler(model, self.fit, (7 * n // 10,))
        training = TrainingPlan(
            epochs=plan.epochs, learning_rate=_RATES[name], batch_pairs=6, seed=plan.seed
        )
        if name == "fine_tuning":
            return trained_technique(
                model, FullTrainee(model), splits, ruler=ruler, objective=_OBJECTIVE, plan=training
            )
        layers = range(n // 8, max(n // 8 + 1, 5 * n // 8))
        places = tuple(Place(m, i) for m in ("o", "down") for i in layers)
        there = tuple(p for p in places if has_matrix(model, p))
        design: AdapterDesign | LearnedDesign
        if name == "lora":
            design = LearnedDesign(matrices=there, kind="lora", sizes=Sizes(rank=8))
        else:
            rank = min(64, model.shape.d_model)
            design = AdapterDesign(matrices=there, rank=rank, columns="singular")
        adapter, _ = train_adapter(
            model, splits, design=design, ruler=ruler, objective=_OBJECTIVE, plan=training
        )
        return replace(weights_technique(adapter), name=name)
