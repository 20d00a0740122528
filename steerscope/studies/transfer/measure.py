"""The transfer table: what each technique does to its target, to all else and to the text.

Coefficients from -2 to 2 and, for either sign by itself, the one that reaches a matched KL. What is
stated is measured on held-out prompts and pairs, paired with the plain model on the same items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import attempt
from steerscope.engine.sampling import sampler_at
from steerscope.engine.score import (
    kl_from_plain,
    log_likelihoods,
    log_likelihoods_under,
    with_kl,
)
from steerscope.errors import BadValueError
from steerscope.judges.effects import UNDAMAGED
from steerscope.judges.judges import (
    Judge,
    choose_judge,
    read_all,
    scored,
    shows_nothing,
    text_metrics,
)
from steerscope.metrics import kl_divergence
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.distinct import PAIRS, PROMPTS, Groups
from steerscope.runs.results import NOT_FINITE
from steerscope.steering.interventions import Cell
from steerscope.studies.damage import undamaged_texts
from steerscope.studies.rows import overflowed
from steerscope.studies.transfer.findings import CONDITION, PLAIN, labelled
from steerscope.studies.transfer.matching import matched_coefficients
from steerscope.studies.transfer.plan import TransferPlan
from steerscope.studies.transfer.techniques import Technique
from steerscope.studies.written import Unjudged
from steerscope.texts.contrasts import ContrastPair, ContrastSet, Prompt, PromptSet


def transfer(
    model: LensModel,
    techniques: Sequence[Technique],
    contrasts: ContrastSet,
    prompts: PromptSet,
    *,
    plan: TransferPlan | None = None,
    judge: Judge | None = None,
    progress: Track = silent,
) -> pd.DataFrame:
    """What each technique does at each coefficient, item by item.

    Args:
        model: the model.
        techniques: trained and chosen on the fit and select splits.
        contrasts: the whole set; its test split is measured.
        prompts: the whole set, likewise; the KL is matched on its select split.
        plan: what is measured.
        judge: reads continuations; default the oracle where it can, else preference.
        progress: shows the loop.

    Returns:
        One row per technique, coefficient and item, the plain model as technique `plain` at 0:
        technique, coefficient, matched (whether the coefficient was chosen by its KL), kind
        (`prompt` or `pair`), item, metric, value, status (`not_finite` for a condition whose logits
        overflow, which has no number and is logged), group (the number of the distinct prompt or contrast
        that the item is). Metrics of prompts: `target` (1 where the
        positive class is read in the continuation, 0 where the negative one is, as the prompt was
        where neither, as in a blank text; by a judge that gives scores, as without steering where the text is damaged),
        `undamaged` by such a judge, what the judge reads, `degenerate`, `nll_plain` (nats per token of the
        continuation under the plain model), `kl`. Metrics of pairs: `preference` (nats)
        and `nll` (nats per token of both texts).

    Raises:
        NotFiniteError: the logits are not finite without any steering.
        BadValueError: fewer than two texts without steering that can be read, by a judge that gives
            scores, so that none can be told from damage.
    """
    plan = plan or TransferPlan()
    both = (contrasts, prompts)
    return transfer_with_texts(model, techniques, both, plan, judge=judge, progress=progress)[0]


def transfer_with_texts(
    model: LensModel,
    techniques: Sequence[Technique],
    asked: tuple[ContrastSet, PromptSet],
    plan: TransferPlan,
    *,
    judge: Judge | None = None,
    out: Path | None = None,
    progress: Track = silent,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """What `transfer` returns, and every text that was written.

    Args:
        model: as for `transfer`, like all that is not said here.
        techniques: see there.
        asked: contrast set and prompts, whole.
        plan: see there.
        judge: see there.
        out: the folder of the run, where texts are kept until a judge that may fail has read them.
        progress: see there.

    Returns:
        The table, and of each text technique, coefficient, matched, item, given (the prompt), seen
        (with what is said before it) and written.
    """
    contrasts, prompts = asked
    parts, pairs = prompts.split(plan.seed), contrasts.split(plan.seed).test
    bench = _Bench(
        model,
        judge or choose_judge(contrasts, (*parts.select.prompts, *parts.test.prompts)),
        parts.test.prompts[: plan.n_prompts],
        pairs.pairs[: plan.n_pairs],
        plan,
        out,
    )
    matching = [p.text for p in parts.select.prompts[: plan.n_kl_prompts]]
    plain = Technique(PLAIN, 0, lambda c: Cell())  # noqa: ARG005
    rows = bench.rows(plain, [(0.0, False)])
    for technique in progress(list(techniques), "measuring transfer"):
        given = plan.coefficients if technique.is_graded else (-1.0, 1.0)
        ends = matched_coefficients(model, technique, matching, plan.kl)
        conditions = [(c, False) for c in given]
        rows += bench.rows(technique, conditions + [(c, True) for c in ends if math.isfinite(c)])
    return labelled(pd.DataFrame(rows), Groups(held_out_groups(asked, plan))), bench.written


def held_out_groups(
    asked: tuple[ContrastSet, PromptSet], plan: TransferPlan
) -> dict[str, dict[str, list[int]]]:
    """The distinct contrast of each held-out pair and the distinct prompt of each prompt, as `Groups` has them."""
    pairs, prompts = (texts.split(plan.seed).test.groups for texts in asked)
    return {"test": {PAIRS: pairs[: plan.n_pairs], PROMPTS: prompts[: plan.n_prompts]}}


@dataclass(frozen=True, eq=False)
class _Bench:
    """Measures one condition on held-out items."""

    model: LensModel
    judge: Judge
    prompts: Sequence[Prompt]
    pairs: Sequence[ContrastPair]
    plan: TransferPlan
    out: Path | None
    written: list[dict[str, Any]] = field(default_factory=list)
    plain: list[tuple[Sequence[Continuation], list[dict[str, float]]]] = field(default_factory=list)

    def rows(
        self, technique: Technique, conditions: Sequence[tuple[float, bool]]
    ) -> list[dict[str, object]]:
        """One row per condition, item and metric."""
        coefficients = [c for c, _ in conditions]
        # A prefix changes the prompt itself, so that its conditions share no batch.
        groups = [coefficients] if technique.is_graded else [[c] for c in coefficients]
        texts = [found for group in groups for found in self._continued(technique, group)]
        by_prompt = self._on_prompts(technique, coefficients, texts)
        by_pair = [found for group in groups for found in self._on_pairs(technique, group)]
        rows = []
        for (c, matched), mine, *found in zip(conditions, texts, by_prompt, by_pair, strict=True):
            label = dict(zip(CONDITION, (technique.name, c, matched), strict=True))
            lost = any(math.isnan(v.get("kl", 0.0)) for v in found[0]) or any(
                math.isnan(v["nll"]) for v in found[1]
            )
            if not lost:
                self.written.extend(self._texts(label, technique.prefix(c), mine))
            label["status"] = NOT_FINITE if lost else "ok"
            rows += [
                label
                | {"kind": kind, "item": item, "metric": metric}
                | {"value": math.nan if lost else value}
                for kind, items in zip(("prompt", "pair"), found, strict=True)
                for item, values in enumerate(items)
                for metric, value in values.items()
            ]
        return rows

    def _continued(
        self, technique: Technique, coefficients: Sequence[float]
    ) -> list[list[Continuation]]:
        """What is written under some conditions; kept until it is judged, where the judge may fail."""
        cells = [technique.cell(c) for c in coefficients]
        prefix = technique.prefix(coefficients[0])
        texts = [prefix + prompt.text for prompt in self.prompts]
        n_new, sampler = self.plan.n_new, sampler_at(self.plan.temperature, self.plan.seed)
        write = partial(attempt, self.model, texts, cells, n_new=n_new, sampler=sampler)
        if self.out is None or not scored(self.judge):
            return write()
        asked = (self.model.fingerprint, technique.name, coefficients, n_new, sampler, texts)
        return Unjudged(self.out)(asked, write)

    def _texts(
        self, label: Mapping[str, object], prefix: str, written: Sequence[Continuation]
    ) -> list[dict[str, Any]]:
        return [
            {**label, "item": i, "given": p.text, "seen": prefix + p.text, "written": text.text}
            for i, (p, text) in enumerate(zip(self.prompts, written, strict=True))
        ]

    def _on_prompts(
        self,
        technique: Technique,
        coefficients: Sequence[float],
        written: Sequence[Sequence[Continuation]],
    ) -> list[list[dict[str, float]]]:
        plain = technique.name == PLAIN
        names = [PLAIN if plain else f"{technique.name} {c:g}" for c in coefficients]
        lost = overflowed(dict(zip(names, written, strict=True)))
        kl = self._kl(technique, coefficients)
        found = [
            self._read(mine, [math.nan] * len(nats) if name in lost else nats)
            for name, mine, nats in zip(names, written, kl, strict=True)
        ]
        if scored(self.judge) and technique.is_graded:
            self._leave_out_damage(technique, written, found)
        elif scored(self.judge):  # each says something else before the prompts
            for c, mine, values in zip(coefficients, written, found, strict=True):
                self._leave_out_damage(technique, [mine], [values], technique.prefix(c))
        return found

    def _leave_out_damage(
        self,
        technique: Technique,
        written: Sequence[Sequence[Continuation]],
        found: Sequence[list[dict[str, float]]],
        prefix: str | None = None,
    ) -> None:
        """Say of each text whether it is undamaged; one that is not counts as the plain text does.

        So it has gone to neither side, under whichever sign. A prefix is what was said before the prompts.
        """
        if technique.name == PLAIN:
            self.plain.append((written[0], [dict(values) for values in found[0]]))
        texts, read = self.plain[0]
        names = [str(number) for number in range(len(written))]
        whole = undamaged_texts(
            self.model,
            [p.text for p in self.prompts],
            dict(zip([PLAIN, *names], [texts, *written], strict=True)),
            dict(zip([PLAIN, *names], [read, *found], strict=True)),
            self.judge.effect,
            asked=None if prefix is None else [prefix + p.text for p in self.prompts],
        )
        for name, rows in zip(names, found, strict=True):
            for place, values in enumerate(rows):
                values[UNDAMAGED] = float(whole.loc[name, place])
                if not values[UNDAMAGED]:
                    values["target"] = read[place]["target"]

    def _kl(self, technique: Technique, coefficients: Sequence[float]) -> list[list[float]]:
        """KL from plain on each prompt under each condition."""
        asked = [p.text for p in self.prompts]
        if technique.is_graded:
            cells = [technique.cell(c) for c in coefficients]
            return kl_from_plain(self.model, asked, cells).tolist()
        prefixes = [technique.prefix(c) for c in coefficients]
        return [[kl_of_prefix(self.model, prefix, text) for text in asked] for prefix in prefixes]

    def _read(self, written: Sequence[Continuation], kl: Sequence[float]) -> list[dict[str, float]]:
        """The metrics of the continuation of each prompt."""
        nll, found = self._nll_plain(written), []
        read = read_all(self.judge, self.prompts, written)
        for i, (prompt, text) in enumerate(zip(self.prompts, written, strict=True)):
            values = read[i]
            if self.judge.effect.is_share:
                none = shows_nothing(self.judge.effect, text)
                moved = 0.0 if none else values[self.judge.effect.metric]
                values["target"] = self._target(prompt, moved)
            values["degenerate"] = text_metrics(text.tokens)["degenerate"]
            values |= {"nll_plain": nll[i]}
            if with_kl(self.model, [prompt.text]):
                values |= {"kl": kl[i]}
            found.append(values)
        return found

    def _target(self, prompt: Prompt, moved: float) -> float:
        """1 if the continuation is on the positive side, else 0."""
        if scored(self.judge):
            return moved  # a score tells of any text on which side it is
        was_positive = not self.judge.applies(prompt, 1)
        return 1.0 - moved if was_positive else moved

    def _nll_plain(self, written: Sequence[Continuation]) -> list[float]:
        asked = [self.model.tokens(p.text) for p in self.prompts]
        whole = [[*ids, *text.tokens] for ids, text in zip(asked, written, strict=True)]
        scores = log_likelihoods(self.model, whole, after=[len(ids) for ids in asked])
        return [-float(s.mean()) if len(s) else math.nan for s in scores]

    def _on_pairs(
        self, technique: Technique, coefficients: Sequence[float]
    ) -> list[list[dict[str, float]]]:
        cells, prefix = [technique.cell(c) for c in coefficients], technique.prefix(coefficients[0])
        before = len(self.model.tokens(prefix.strip())) if prefix else 1
        texts = [prefix + t for p in self.pairs for t in (p.positive, p.negative)]
        after = [before] * len(texts)
        return [
            [
                {
                    "preference": float(one.sum() - other.sum()),
                    "nll": -float(one.mean() + other.mean()) / 2,
                }
                for one, other in zip(scores[0::2], scores[1::2], strict=True)
            ]
            for scores in log_likelihoods_under(self.model, texts, cells, after=after)
        ]


@torch.no_grad()
def kl_of_prefix(model: LensModel, prefix: str, text: str) -> float:
    """KL(with prefix || without) over the tokens that a text has either way, but its first, in nats."""
    bare, whole = model.tokens(text), model.tokens(prefix + text)
    shared = 0
    while shared < len(bare) - 1 and bare[-1 - shared] == whole[-1 - shared]:
        shared += 1
    if not shared:
        raise BadValueError(
            f"behind the prefix {prefix!r} the text {text!r} has no token in common."
        )
    logits = [
        model.forward(torch.tensor([ids], device=model.device), last=shared)
        for ids in (whole, bare)
    ]
    return float(kl_divergence(logits[0], logits[1]).mean())


def as_array(
    rows: pd.DataFrame, metric: str, technique: str, coefficient: float, *, matched: bool = False
) -> Float[np.ndarray, " item"]:
    """The values of one metric under one condition, in the order of the items."""
    mine = rows[
        (rows.technique == technique)
        & (rows.coefficient == coefficient)
        & (rows.matched == matched)
        & (rows.metric == metric)
    ]
    return mine.sort_values("item").value.to_numpy(float)
