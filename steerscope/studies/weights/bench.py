"""What a sweep of weight edits measures with: everything a plan names, loaded, and the run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from steerscope.engine.sampling import Sampler, without_usual
from steerscope.engine.score import kl_from_plain, preferences
from steerscope.errors import BadValueError, PureGainWarning
from steerscope.extraction.activations import Contrast, extract
from steerscope.judges import WORLDS
from steerscope.judges.effects import Effect
from steerscope.judges.perplexity import text_nats
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.models.matrices import check_weight
from steerscope.models.provenance import provenance_of
from steerscope.progress import Track
from steerscope.runs.distinct import GROUPS, PAIRS, PROMPTS, groups_of
from steerscope.runs.results import Row, Run, check_run_folder
from steerscope.sites import Site
from steerscope.steering.interventions import Cell
from steerscope.studies.beginnings import load_planned
from steerscope.studies.bench import Bench, Decoding, Material
from steerscope.studies.inputs import stated_inputs
from steerscope.studies.judging import Question, find_judge
from steerscope.studies.rows import cell_row, without_numbers
from steerscope.studies.weights.findings import (
    CAPABILITY,
    KL,
    NATS,
    TOKENS,
    front_table,
    leaning,
    towards,
)
from steerscope.studies.weights.judged import TargetJudge
from steerscope.studies.weights.plan import WeightSweepPlan
from steerscope.studies.weights.screening import Screen, screen_of
from steerscope.texts.chats import as_chat
from steerscope.texts.contrasts import (
    ContrastSet,
    PromptSet,
    Split,
    load_contrasts,
    load_prompts,
    split_prompts_for,
    usual_prompts,
)
from steerscope.texts.groups import distinct_contrasts
from steerscope.weights.edits import find_edit, needs_pairs, output_site
from steerscope.weights.places import Place, parse_places
from steerscope.weights.weight_edit import WeightEdit

_CELLS_AT_ONCE = 32  # a kill loses at most this many conditions


@dataclass(frozen=True)
class WeightBench:
    """A plan with everything that it names loaded and checked, and the run that its numbers go to."""

    plan: WeightSweepPlan
    model: LensModel
    pairs: Split[ContrastSet]
    prompts: Split[PromptSet]
    capability: Split[ContrastSet] | None
    texts: Split[tuple[str, ...]]
    judge: TargetJudge
    screener: Screen
    run: Run
    progress: Track

    @property
    def sampler(self) -> Sampler:
        """How continuations are sampled."""
        return self.plan.sampler

    def screen(self, cells: Sequence[Cell]) -> None:
        """Measure conditions on the select split without writing: leaning, KL and perplexity."""
        wanted = [c for c in (Cell(), *cells) if not self.run.has([(c.key, 0, "select", KL)])]
        starts = range(0, len(wanted), _CELLS_AT_ONCE)
        for start in self.progress(starts, "screening"):
            some = wanted[start : start + _CELLS_AT_ONCE]
            rows = self._screened(some) + self._text_rows("select", some)
            self.run.append(without_numbers(rows, self._lost(rows, "select")))

    def measure(self, split: str, cells: Sequence[Cell]) -> None:
        """Measure conditions on one split: continuations, capability and perplexity."""
        pairs, prompts = getattr(self.pairs, split), getattr(self.prompts, split)
        material = Material(split, prompts, pairs)
        decoding = Decoding(self.plan.n_new, self.sampler)
        bench = Bench(self.model, self.judge, material, self.run, decoding)
        bench.measure(cells, progress=self.progress)
        wanted = [c for c in (Cell(), *cells) if not self.run.has([(c.key, 0, split, TOKENS)])]
        if wanted:
            rows = self._text_rows(split, wanted)
            self.run.append(without_numbers(rows, self._lost(rows, split)))

    def _lost(self, rows: Sequence[Row], split: str) -> set[str]:
        """The conditions under which something is no number that is one under others."""
        asked = getattr(self.prompts, split).prompts
        alone = {i for i, p in enumerate(asked) if len(self.model.tokens(p.text)) < 2}
        return {
            row.cell
            for row in rows
            if math.isnan(row.value) and not (row.metric == KL and row.prompt in alone)
        }

    def leanings(self, cells: Collection[str]) -> pd.DataFrame:
        """`front_table` of some conditions of the select split, by what screened them."""
        table = self.run.table()
        mine = table[table.cell.isin({Cell().key, *cells})]
        return front_table(mine, leaning(self.judge.effect), "select", groups_of(self.run))

    def _screened(self, cells: Sequence[Cell]) -> list[Row]:
        """Leanings and KL of conditions on the select split."""
        concept, texts = self.pairs.select.concept, [p.text for p in self.prompts.select.prompts]
        kl = kl_from_plain(self.model, texts, cells).double().numpy()
        found = self.screener.leanings(self.model, cells)
        rows = [
            cell_row(cell, concept, "select", (KL, "nats", i), float(nats), kl=float(nats))
            for cell, row in zip(cells, kl, strict=True)
            for i, nats in enumerate(row)
        ]
        effect = leaning(self.judge.effect)
        return rows + [
            cell_row(cell, concept, "select", (towards(effect, target), "nats", i), float(value))
            for target, values in found.items()
            for cell, row in zip(cells, values, strict=True)
            for i, value in enumerate(row)
        ]

    def _text_rows(self, split: str, cells: Sequence[Cell]) -> list[Row]:
        """Perplexity of conditions, and capability where pairs tell it."""
        texts: tuple[str, ...] = getattr(self.texts, split)
        found = text_nats(self.model, texts, cells)
        concept = getattr(self.pairs, split).concept
        return [
            cell_row(cell, concept, split, (metric, unit, i), float(value))
            for number, cell in enumerate(cells)
            for metric, unit, values in (
                (NATS, "nats", found.nats[number]),
                (TOKENS, "tokens", found.tokens),
            )
            for i, value in enumerate(values)
        ] + self._capability_rows(split, cells)

    def _capability_rows(self, split: str, cells: Sequence[Cell]) -> list[Row]:
        if self.capability is None:
            return []
        pairs: ContrastSet = getattr(self.capability, split)
        texts = [(p.positive, p.negative) for p in pairs.pairs]
        margins = preferences(self.model, texts, cells)
        concept = getattr(self.pairs, split).concept
        return [
            cell_row(cell, concept, split, (CAPABILITY, "share", i), _is_right(float(margin)))
            for cell, row in zip(cells, margins, strict=True)
            for i, margin in enumerate(row)
        ]


def _is_right(margin: float) -> float:
    return math.nan if math.isnan(margin) else float(margin > 0)


def _settings(plan: WeightSweepPlan) -> dict[str, Any]:
    """The plan, without what is newer than a run may be and left as it was, so that it continues."""
    usual = {"bos": "auto", "revision": None, "chat": None, "judge": None, "judge_labels": None}
    chat = as_chat(plan.chat)
    settings = without_usual(asdict(plan)) | {"chat": None if chat is None else chat.stored()}
    del settings["judge_url"]
    return {k: v for k, v in settings.items() if k not in usual or v != usual[k]}


def bind(
    plan: WeightSweepPlan, out: str | Path, machine: tuple[str | None, str | None], progress: Track
) -> tuple[WeightBench, list[WeightEdit]]:
    """Load and check everything that a plan names, and start or open its run.

    Args:
        plan: what decides the numbers.
        out: the run directory.
        machine: device and memory, as in `load_model`.
        progress: shows the loops.

    Returns:
        The bench, and every edit by every amount at every place.
    """
    check_run_folder(out)
    plan = replace(plan, prompts=plan.prompts or usual_prompts(plan.contrasts))
    contrasts = load_contrasts(plan.contrasts)
    pairs = contrasts.split(plan.seed)
    prompts = split_prompts_for(
        contrasts, plan.prompts, plan.seed, max_select=plan.max_select, max_test=plan.max_test
    )
    device, memory = machine
    model = load_planned(plan, device=device, memory=memory)
    plan = replace(plan, dtype=model.dtype_name)
    contrasts = in_chat(model, contrasts, plan.chat)
    pairs = pairs.map(lambda part: in_chat(model, part, plan.chat))
    prompts = prompts.map(lambda part: in_chat(model, part, plan.chat))
    known = None if plan.capability is None else load_contrasts(plan.capability)
    capability = None if known is None else in_chat(model, known, plan.chat).split(plan.seed)
    judging = find_judge(_question(plan, contrasts, pairs, prompts), model, out)
    judge = TargetJudge(judging.judge)
    has_oracle = bool(judge.effect.kept)
    _check_capability(plan, contrasts, has_oracle)
    texts = _texts(plan, pairs, judge.world)
    screener = screen_of(pairs.select, judge.effect, plan.max_pairs)
    edits = _edits(plan, model, pairs.fit, progress)
    _check(model, edits)
    run = Run.start(
        out,
        {
            "kind": type(plan).__name__,
            **_settings(plan),
            "contrasts_sha256": contrasts.sha256,
            "prompts_sha256": [prompts.select.sha256, prompts.test.sha256],
            "effect": asdict(judge.effect.undamaged),
            "screened_by": screener.kind,
            **judging.settings,
        },
        provenance=provenance_of(model)
        | stated_inputs(asdict(plan))
        | {GROUPS: _groups(pairs, prompts, screener, judge.effect)},
    )
    judging.keep(run)
    loaded = (plan, model, pairs, prompts, capability, texts, judge, screener, run, progress)
    return WeightBench(*loaded), edits


def _groups(
    pairs: Split[ContrastSet], prompts: Split[PromptSet], screener: Screen, effect: Effect
) -> dict[str, dict[str, list[int]]]:
    """What of the items is distinct, by split; leanings are of pairs of their own."""
    both: dict[str, dict[str, list[int]]] = {
        part: {PAIRS: getattr(pairs, part).groups, PROMPTS: getattr(prompts, part).groups}
        for part in ("select", "test")
    }
    for target, texts in screener.texts.items():
        both["select"][towards(leaning(effect), target)] = distinct_contrasts(texts)
    return both


def _question(
    plan: WeightSweepPlan,
    contrasts: ContrastSet,
    pairs: Split[ContrastSet],
    prompts: Split[PromptSet],
) -> Question:
    """What a judge is to tell."""
    asked = (*prompts.select.prompts, *prompts.test.prompts)
    return Question(
        plan.judge,
        plan.judge_labels,
        contrasts,
        pairs,
        asked,
        plan.n_new,
        plan.seed,
        plan.judge_url,
    )


def _check_capability(plan: WeightSweepPlan, contrasts: ContrastSet, has_oracle: bool) -> None:
    """Refuse a sweep of which nothing tells what is kept, or two things do."""
    if plan.capability is None and not has_oracle:
        raise BadValueError(
            f"no oracle reads what {contrasts.name} leaves alone; name a contrast set whose positive "
            "text a capable model prefers as capability, such as the bundled `facts`."
        )
    if plan.capability is not None and has_oracle:
        raise BadValueError(
            "a capability set is not used here, since an oracle reads what a continuation kept; "
            "leave it out."
        )


def _check(model: LensModel, edits: Sequence[WeightEdit]) -> None:
    """Refuse what some weight refuses, and say which edits change no spectrum."""
    gains = {
        part.name
        for edit in edits
        for (_, part), (_, change) in zip(edit.parts, edit.changes(model), strict=True)
        if change.is_gain
    }
    if gains:
        warnings.warn(
            f"{', '.join(sorted(gains))} multiplies every weight by one number: it changes no "
            "spectrum, and is swept as the control that it is.",
            PureGainWarning,
            stacklevel=4,
        )


def _edits(
    plan: WeightSweepPlan, model: LensModel, fit: ContrastSet, progress: Track
) -> list[WeightEdit]:
    """Every edit by every amount at every place."""
    layers = plan.layers or range(model.shape.n_layers)
    places = [Place(check_weight(name), i) for name in plan.weights for i in layers]
    everywhere = [*places, *(p for text in plan.together for p, _ in parse_places(text))]
    contrasts: Mapping[Site, Contrast] = {}
    if any(map(needs_pairs, plan.edits)):
        contrasts = output_contrasts(model, fit, everywhere, progress)
    single = [
        WeightEdit(((place, find_edit(name, amount, contrasts=contrasts)),))
        for name in plan.edits
        for place in places
        for amount in plan.amounts
        if amount
    ]
    together = [
        WeightEdit.parse(name, text, contrasts=contrasts)
        for name in plan.edits
        for text in plan.together
    ]
    return [*single, *together]


def output_contrasts(
    model: LensModel, fit: ContrastSet, places: Sequence[Place], progress: Track
) -> Mapping[Site, Contrast]:
    """Activations of the pairs at the outputs of weights, of those that can be read."""
    sites = [s for p in places for g in (True, False) if model.has(s := output_site(p, gated=g))]
    return extract(model, fit, list(dict.fromkeys(sites)), progress=progress) if sites else {}


def _texts(plan: WeightSweepPlan, pairs: Split[ContrastSet], world: str) -> Split[tuple[str, ...]]:
    """Texts for perplexity, other ones on each split."""
    if plan.texts is not None:
        texts = tuple(p.text for p in load_prompts(plan.texts).prompts)[: 2 * plan.n_texts]
        if len(texts) < 2:
            raise BadValueError(f"{plan.texts} has fewer than 2 texts; each split needs its own.")
        return Split((), texts[0::2], texts[1::2])
    if world:
        fresh = tuple(WORLDS[world](Random(f"perplexity {plan.seed}"), 2 * plan.n_texts))
        return Split((), fresh[0::2], fresh[1::2])
    sides = pairs.map(lambda part: tuple(t for p in part.pairs for t in (p.positive, p.negative)))
    return sides.map(lambda texts: texts[: plan.n_texts])
