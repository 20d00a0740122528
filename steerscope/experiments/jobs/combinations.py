"""One layer, all layers, two concepts added: at one KL, as a job of an experiment.

Every arm gets the smallest dose that moves the model by the same KL. A layer is chosen on the select
prompts and stated on the test prompts.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.directions import mean_diff
from steerscope.doses import Dose
from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import generate
from steerscope.engine.sampling import sampler_at
from steerscope.errors import BadValueError, NotFiniteError, NotReachedError
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.jobs.arms import ADDED, ALL, SINGLE, arms_of_rows
from steerscope.experiments.jobs.job import (
    DRAWN,
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
from steerscope.extraction.activations import extract
from steerscope.figures.files import Plate
from steerscope.judges import Judge
from steerscope.judges.effects import UNITS
from steerscope.judges.judges import read_all, scored
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track
from steerscope.runs.distinct import GROUPS, PROMPTS, groups_of
from steerscope.runs.results import NOT_FINITE, NOT_REACHED, Row, Run, plain_row
from steerscope.sites import Site
from steerscope.steering.composition import renormalised_sum
from steerscope.steering.interventions import Cell
from steerscope.steering.strengths import Constant
from steerscope.studies.damage import add_damage
from steerscope.studies.gating import Arm, matched_dose
from steerscope.studies.inputs import stated_inputs
from steerscope.studies.judging import find_judge, question_of
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.steering.success import PLAIN
from steerscope.studies.written import Unjudged
from steerscope.texts.another import check_another
from steerscope.texts.chats import Chat, as_chat
from steerscope.texts.contrasts import (
    ContrastSet,
    Prompt,
    load_contrasts,
    prompts_for,
    usual_prompts,
)
from steerscope.texts.groups import distinct_prompts

_log = logging.getLogger(__name__)
# Texts, and what a judge read in each.
_Reply = tuple[Sequence[Continuation], Sequence[Mapping[str, float]]]


@dataclass(frozen=True)
class CombinationStep:
    """The arms of one model and concept.

    Attributes:
        model: to be loaded.
        contrasts: the concept whose effect is measured.
        other: the concept that is added to it; None for no sums.
        layers: of the arms; None for all.
        kl: nats at which the arms are compared.
        n_kl_prompts: of the select prompts, on which the KL is matched.
        n_select: prompts that choose the layer, at most.
        n_test: prompts on which the effect is stated, at most.
        judging: judge, labels and endpoint under the names of a plan; empty for the usual judge.
        narrowing: which tokens may be drawn, under the names of a plan; empty for all.
    """

    model: str
    contrasts: str
    prompts: str | None
    other: str | None
    layers: tuple[int, ...] | None
    kl: float
    n_kl_prompts: int
    n_select: int
    n_test: int
    n_new: int
    temperature: float
    seed: int
    dtype: str
    backbone: str
    chat: Chat | None = None
    judging: Mapping[str, str | None] = field(default_factory=dict)
    narrowing: Mapping[str, Any] = field(default_factory=dict)
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
        settings = as_asked({"kind": "CombinationStep", **asdict(self), "chat": chat})
        del settings["judging"], settings["narrowing"]
        return (
            settings
            | dict(self.narrowing)
            | {k: v for k, v in self.judging.items() if v and k != "judge_url"}
        )

    def make(self, out: Path, machine: Machine, progress: Track) -> Run:
        """Measure the arms that are missing.

        Raises:
            BadValueError: no oracle reads the prompts, or too few plain texts tell what damage is.
        """
        model = load(self, machine)
        contrasts = load_contrasts(self.contrasts)
        prompts = in_chat(model, prompts_for(contrasts, self.prompts), self.chat)
        contrasts = in_chat(model, contrasts, self.chat)
        parts = prompts.split(self.seed)
        question = question_of(
            self.judging, contrasts, parts, self.n_new, self.seed, self._most_texts(model)
        )
        judging = find_judge(question, model, out)
        judge = judging.judge
        if not judge.effect.is_share:
            raise BadValueError(
                f"nothing reads continuations of {contrasts.name}; combinations need a contrast set "
                "of a bundled world, or a judge."
            )
        configuration = {
            **self.settings,
            "contrasts_sha256": contrasts.sha256,
            "prompts_sha256": prompts.sha256,
            "effect": asdict(judge.effect.undamaged),
            **judging.settings,
        }
        limits = {"select": self.n_select, "test": self.n_test}
        room = {
            split: [p for p in getattr(parts, split).prompts if judge.applies(p, 1)][:limit]
            for split, limit in limits.items()
        }
        groups = {s: {PROMPTS: distinct_prompts([p.text for p in r])} for s, r in room.items()}
        said = provenance_of(model) | stated_inputs(asdict(self)) | {GROUPS: groups}
        run = Run.start(out, configuration, provenance=said)
        judging.keep(run)
        texts = [p.text for p in parts.select.prompts[: self.n_kl_prompts]]
        arms = [None, *self._arms(model, contrasts)]
        missing = [arm for arm in arms if not run.has(_keys(arm, room, judge))]
        plain: dict[str, _Reply] = {}
        if None in missing or (missing and scored(judge)):  # damage is told from plain texts
            plain = _read(judge, room, self._written(model, judge, room, Cell(), run))
        for arm in progress(missing, "measuring combinations"):
            what = contrasts.concept, arm
            run.append(*self._measured(model, judge, what, texts, room, plain, run))
        Unjudged(out).clear()
        run.seal()
        return run

    def _measured(  # noqa: PLR0913 - each is a thing of its own
        self,
        model: LensModel,
        judge: Judge,
        what: tuple[str, Arm | None],
        texts: Sequence[str],
        room: Mapping[str, Sequence[Prompt]],
        plain: Mapping[str, _Reply],
        run: Run,
    ) -> tuple[list[Row], list[dict[str, Any]]]:
        """The rows and texts of an arm, or of the plain model; one that cannot be measured says why."""
        concept, arm = what
        amount, status, found = (0.0, 0.0), "ok", plain
        if arm is not None:
            try:
                amount = matched_dose(model, arm, self.kl, texts)
                written = self._written(model, judge, room, arm.cell(amount[0]), run)
            except (NotFiniteError, NotReachedError) as error:
                _log.warning("%s: %s", arm.name, error)
                status = NOT_REACHED if isinstance(error, NotReachedError) else NOT_FINITE
                amount, written = (math.nan, math.nan), {}
            found = _read(judge, room, written)
        rows, kept, nothing = [], [], {judge.effect.undamaged.metric: math.nan}
        for split, asked in room.items():
            said, read = found.get(split, ((), [nothing] * len(asked)))
            if found and scored(judge):
                both = {PLAIN: plain[split]} | ({} if arm is None else {arm.name: (said, read)})
                read = _with_damage(model, asked, both, judge)
            rows += _rows(concept, arm, amount, split, read)
            kept += _texts(PLAIN if arm is None else arm.name, split, asked, said)
        return [replace(row, status=status) for row in rows], kept

    def _written(
        self,
        model: LensModel,
        judge: Judge,
        room: Mapping[str, Sequence[Prompt]],
        cell: Cell,
        run: Run,
    ) -> dict[str, list[Continuation]]:
        """What the model writes after each prompt; kept until it is judged, where the judge may fail."""
        sampler, found = sampler_at(self.temperature, self.seed, **self.narrowing), {}
        for split, asked in room.items():
            texts = [p.text for p in asked]
            write = partial(generate, model, texts, [cell], n_new=self.n_new, sampler=sampler)
            question = sampler, self.n_new, texts, cell.key
            kept = Unjudged(run.path)(question, write) if scored(judge) else write()
            found[split] = kept[0]
        return found

    def _most_texts(self, model: LensModel) -> int:
        size = self.size(model.shape.n_layers)
        return size.cells * size.items

    def _arms(self, model: LensModel, contrasts: ContrastSet) -> list[Arm]:
        sites = [Site("resid_post", i) for i in self.layers or range(model.shape.n_layers)]
        fit = contrasts.split(self.seed).fit
        mine = {site: mean_diff(c) for site, c in extract(model, fit, sites).items()}
        whole = Constant(1.0)
        found = [Arm(f"{SINGLE} {site.layer}", ((d, whole),)) for site, d in mine.items()]
        if self.other is not None:
            other = in_chat(model, load_contrasts(self.other), self.chat)
            check_another(contrasts, other)
            pairs = other.split(self.seed).fit
            for site, contrast in extract(model, pairs, sites).items():
                added, _ = renormalised_sum(
                    [(mine[site], Dose(1.0)), (mean_diff(contrast), Dose(1.0))]
                )
                found.append(Arm(f"{ADDED} {site.layer}", ((added, whole),)))
        if len(mine) > 1:
            found.append(Arm(ALL, tuple((d, whole) for d in mine.values())))
        return found

    def size(self, n_layers: int) -> Size:
        """Arms on the prompts of both splits."""
        layers = n_layers if self.layers is None else len(self.layers)
        arms = layers * (1 if self.other is None else 2) + 2
        return Size(arms, self.n_select + self.n_test)

    def reduced(self, n_texts: int) -> CombinationStep:
        """One layer on few prompts."""
        layers = (self.layers or (0,))[:1]
        few: dict[str, Any] = {"n_select": n_texts, "n_test": n_texts, "n_kl_prompts": 4}
        return replace(self, layers=layers, other=None, **few)


def _keys(
    arm: Arm | None, room: Mapping[str, Sequence[Prompt]], judge: Judge
) -> list[tuple[str, int, str, str]]:
    """The rows that tell that an arm was measured."""
    name, metric = PLAIN if arm is None else arm.name, judge.effect.undamaged.metric
    return [(name, i, split, metric) for split, asked in room.items() for i in range(len(asked))]


def _read(
    judge: Judge,
    room: Mapping[str, Sequence[Prompt]],
    written: Mapping[str, Sequence[Continuation]],
) -> dict[str, _Reply]:
    """For each split that there is, the texts and what the judge reads in them."""
    return {split: (texts, read_all(judge, room[split], texts)) for split, texts in written.items()}


def _with_damage(
    model: LensModel, asked: Sequence[Prompt], replies: Mapping[str, _Reply], judge: Judge
) -> list[dict[str, float]]:
    """What was read in the last of the replies, and whether each of its texts is undamaged."""
    read = {name: [dict(values) for values in reply[1]] for name, reply in replies.items()}
    written = {name: reply[0] for name, reply in replies.items()}
    add_damage(model, [p.text for p in asked], written, read, judge.effect)
    return read[[*read][-1]]


def _texts(
    name: str, split: str, asked: Sequence[Prompt], written: Sequence[Continuation]
) -> list[dict[str, Any]]:
    """The texts of an arm as `Run.append` takes them; none where its logits overflow."""
    return [
        {"cell": name, "prompt": i, "split": split, "given": prompt.text, "written": text.text}
        for i, (prompt, text) in enumerate(zip(asked, written, strict=False))
    ]


def _rows(
    concept: str,
    arm: Arm | None,
    amount: tuple[float, float],
    split: str,
    read: Sequence[Mapping[str, float]],
) -> list[Row]:
    dose, nats = amount
    family, layer = (PLAIN, -1) if arm is None else (ALL, -1)
    direction = None
    if arm is not None and len(arm.shares) == 1:
        direction = arm.shares[0][0]
        family, layer = arm.name.rpartition(" ")[0], direction.site.layer
    length = float("nan") if direction is None else dose * direction.scale.natural
    relative = float("nan") if direction is None else length / direction.scale.relative
    return [
        replace(
            plain_row(metric, UNITS.get(metric, "share"), float(value)),
            cell=PLAIN if arm is None else arm.name,
            concept=concept,
            method=family,
            layer=layer,
            operator="add",
            scope="all",
            dose_absolute=length,
            dose_relative=relative,
            dose_natural=dose,
            kl_nats=nats,
            prompt=i,
            split=split,
        )
        for i, values in enumerate(read)
        for metric, value in values.items()
    ]


def _steps(e: Experiment) -> list[Step]:
    s = e.sample
    return [
        CombinationStep(
            model=model,
            contrasts=contrasts,
            prompts=e.prompts or usual_prompts(contrasts),
            other=e.other,
            layers=e.sites.layers,
            kl=e.matched.kl or 0.2,
            n_kl_prompts=s.kl_prompts or 12,
            n_select=s.select or 40,
            n_test=s.test or 80,
            n_new=e.decoding.n_new,
            temperature=e.decoding.temperature,
            narrowing=e.narrowing(),
            seed=seed,
            **e.loading(),
            chat=as_chat(e.chat),
            judging=e.judging(contrasts),
        )
        for model, contrasts, seed in product(e.models, e.contrasts, e.seeds)
    ]


def _tables(experiment: Experiment, runs: Sequence[Run]) -> Tables:  # noqa: ARG001 - as all jobs
    return {"arms": pd.DataFrame([row for run in runs for row in _arm_rows(run)])}


def _arm_rows(run: Run) -> Iterator[dict[str, object]]:
    table, effect = run.table(), effect_of(run)
    labels = table.drop_duplicates("cell").set_index("cell")
    for split in ("select", "test"):
        for cell, values in arms_of_rows(table, effect.metric, split).iterrows():
            found = groups_of(run).mean(values, split, effect.metric, share=True)
            label = labels.loc[cell, ["method", "layer", "dose_natural", "kl_nats"]].to_dict()
            key = {"run": run.path.name, "split": split, "arm": cell, "counts": effect.metric}
            yield {**key, **label, **asdict(found)}


def _plates(experiment: Experiment, runs: Sequence[Run]) -> list[Plate]:  # noqa: ARG001
    return []


COMBINATIONS = Job(
    name="combinations",
    words="one layer against all layers and against two concepts added, at a matched KL",
    takes=frozenset(
        {
            "prompts",
            "other",
            "chat",
            "sites.layers",
            "matched.kl",
            *DRAWN,
            "sample.kl_prompts",
            "sample.select",
            "sample.test",
            *JUDGED,
        }
    ),  # fmt: skip
    figures=(),
    steps=_steps,
    tables=_tables,
    plates=_plates,
)
