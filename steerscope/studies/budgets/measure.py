"""Texts under a budget, beside the plain texts cut off at it, as the rows of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from steerscope.engine.budgets import Budget, fit_lengths
from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import generate
from steerscope.engine.sampling import sampler_at
from steerscope.engine.score import log_likelihoods
from steerscope.errors import BadValueError
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.distinct import PROMPTS
from steerscope.runs.results import Row, Run, measuring, plain_row
from steerscope.steering.interventions import Cell
from steerscope.studies.beginnings import load_planned, start_planned
from steerscope.studies.budgets.findings import ASKED, CUT
from steerscope.studies.budgets.plan import BudgetPlan
from steerscope.texts.chats import Chat
from steerscope.texts.contrasts import load_prompts
from steerscope.texts.groups import distinct_prompts

_UNITS = {"ended": "share", "forced": "share", "empty": "share", "tokens": "tokens", "nats": "nats"}


def run_budgets(
    path: str | Path,
    plan: BudgetPlan,
    *,
    chat: Chat | None = None,
    device: str | None = None,
    memory: str | None = None,
    model: LensModel | None = None,
    progress: Track = silent,
) -> Run:
    """What each budget does to the texts of a model, into a run.

    Args:
        path: the run's folder.
        plan: what is measured.
        chat: puts prompts into the chat template; None for plain text.
        device: as in `load_model`.
        memory: as in `load_model`.
        model: the model, if it is loaded already.
        progress: shows the loops.

    Raises:
        BadValueError: fewer than four prompts, or too few plain texts that end.
        RunError: the folder holds another run, or something else.
    """
    spoken = load_prompts(plan.prompts)
    loaded = model or load_planned(plan, device=device, memory=memory)
    asked = in_chat(loaded, spoken, chat)
    texts = [prompt.text for prompt in asked.prompts]
    hashes = {"prompts_sha256": spoken.sha256, "template": asked.template}
    with measuring(path):
        groups = {"test": {PROMPTS: distinct_prompts(_halves(texts, plan)[1])}}
        run = start_planned(path, plan, loaded, chat, hashes, groups=groups)
        run.append(*budget_rows(loaded, texts, plan, progress=progress))
        run.seal()
    return run


def budget_rows(
    model: LensModel, prompts: Sequence[str], plan: BudgetPlan, *, progress: Track = silent
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Rows of a run, one for each budget, text and metric, and the texts.

    The lengths are fitted on plain texts of the first half of the prompts; the rows are of the others: whether
    there is a text that ends before the budget, whether the budget itself ended it, whether it is empty, its
    tokens, and its nats per token
    (of the text and of its end if it has one, under the plain model).

    Raises:
        BadValueError: fewer than four prompts, or too few plain texts that end.
    """
    first, asked = _halves(prompts, plan)
    if len(first) < 2:
        n = len(first) + len(asked)
        raise BadValueError(f"a budget is tried on at least 4 prompts; there are {n}.")
    sampler = sampler_at(plan.temperature, plan.seed)
    [plain] = generate(
        model, [*first, *asked], Cell(), n_new=plan.longest, sampler=sampler, progress=progress
    )
    lengths = fit_lengths([len(text.tokens) for text in plain[: len(first)] if text.ended])
    unbound = plain[len(first) :]
    ends = tuple(sorted(model.vocabulary.ends))
    rows: list[Row] = []
    texts = _texts("plain", asked, unbound)
    for budget in plan.budgets:
        bound = Budget(budget, lengths, ends, sampler)
        most = min(budget + 1, plan.longest)
        [guided] = generate(model, asked, Cell(), n_new=most, sampler=bound, progress=progress)
        cut = [_cut(text, budget) for text in unbound]
        for arm, written in ((CUT, cut), (ASKED, guided)):
            nats = _nats(model, asked, written, ends[0])
            rows += _rows(budget, arm, written, nats, plan.seed)
        texts += _texts(_cell(budget, ASKED), asked, guided)
    return rows, texts


def _halves(prompts: Sequence[str], plan: BudgetPlan) -> tuple[list[str], list[str]]:
    """The prompts on which lengths are fitted, and those on which budgets are tried."""
    asked = list(prompts)[: plan.n_prompts]
    return asked[: len(asked) // 2], asked[len(asked) // 2 :]


def _cell(budget: int, arm: str) -> str:
    return f"{budget} tokens: {arm}"


def _rows(
    budget: int, arm: str, texts: Sequence[Continuation], nats: np.ndarray, seed: int
) -> list[Row]:
    found = []
    for prompt, (text, lost) in enumerate(zip(texts, nats, strict=True)):
        n = len(text.tokens)
        values = {
            "ended": float(text.ended and 0 < n < budget),  # nothing is no text that ended in time
            "forced": float(text.ended and n >= budget),
            "empty": float(n == 0),
            "tokens": float(n),
            "nats": float(lost),
        }
        found += [
            replace(
                plain_row(metric, _UNITS[metric], value),
                cell=_cell(budget, arm),
                method=arm,
                dose_absolute=float(budget),
                prompt=prompt,
                seed=seed,
                status="empty" if math.isnan(value) else "ok",
            )
            for metric, value in values.items()
        ]
    return found


def _texts(
    cell: str, prompts: Sequence[str], texts: Sequence[Continuation]
) -> list[dict[str, Any]]:
    return [
        {"cell": cell, "prompt": i, "split": "test", "given": given, "written": text.text}
        for i, (given, text) in enumerate(zip(prompts, texts, strict=True))
    ]


def _cut(text: Continuation, budget: int) -> Continuation:
    """A text cut off at a budget; one that is short enough stays as it is."""
    if len(text.tokens) <= budget:
        return text
    return Continuation(text.tokens[:budget], "", ended=False)


def _nats(
    model: LensModel, prompts: Sequence[str], texts: Sequence[Continuation], end: int
) -> np.ndarray:
    """Nats per token of each text and of its end, under the plain model; NaN for none."""
    asked = [model.tokens(prompt) for prompt in prompts]
    whole = [
        [*ids, *text.tokens, *([end] if text.ended else [])]
        for ids, text in zip(asked, texts, strict=True)
    ]
    scores = log_likelihoods(model, whole, after=[len(ids) for ids in asked])
    return np.array([-float(s.mean()) if len(s) else np.nan for s in scores])
