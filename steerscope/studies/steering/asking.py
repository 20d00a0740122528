"""Asking in words, the rival of steering: which prompts it is done by, and how it does beside it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import pandas as pd

from steerscope.errors import PromptTooLongError
from steerscope.judges.effects import KL_WRITTEN
from steerscope.judges.judges import compares_pairs
from steerscope.models.chat_templates import ChatText
from steerscope.models.lens_model import LensModel
from steerscope.statistics import Estimate
from steerscope.steering.interventions import Cell
from steerscope.steering.prompting import METHODS, Prompting
from steerscope.studies.steering.plan import StudyPlan
from steerscope.studies.steering.prepare import Prepared
from steerscope.studies.steering.stated import Stated
from steerscope.studies.steering.success import Costs, difference
from steerscope.studies.steering.texts import Texts
from steerscope.studies.steering.verdict import Cost
from steerscope.texts.chats import Conversation
from steerscope.texts.contrasts import ContrastSet
from steerscope.texts.places import STYLE
from steerscope.texts.styles import find_style

_log = logging.getLogger(__name__)


def asking_of(plan: StudyPlan, bound: Prepared) -> list[Cell]:
    """The conditions of a study that ask for the concept."""
    judged, paired = bound.judge.effect.is_share, compares_pairs(bound.judge)
    return asking_cells(plan, bound.model, bound.texts, judged=judged, paired=paired)


def asking_cells(
    plan: StudyPlan, model: LensModel, texts: Texts, *, judged: bool, paired: bool = True
) -> list[Cell]:
    """The conditions that ask for the concept: by an instruction, by examples, and by both.

    The instruction is the one of the plan, else what a style wants. The examples are positive texts of
    the fit split, of different contrasts as long as there are any, as many as the context holds; of a style there are none,
    since its texts are instructions themselves.

    Args:
        plan: says how many examples, and which instruction.
        model: what is asked.
        texts: pairs and prompts, as the model is given them.
        judged: whether what is written is read; else a style is not asked for, since its effect would
            be how likely its own instruction is after itself.
        paired: whether the pairs are compared as well, so that they need room after what asks.
    """
    is_style = plan.contrasts.startswith(STYLE)
    if is_style and not judged:
        return []
    wanted = find_style(plan.contrasts.removeprefix(STYLE)).wanted if is_style else ""
    instruction = wanted if plan.instruction is None else plan.instruction
    shown = [] if is_style else _examples(texts.pairs.fit, plan.examples, plan.seed)
    asked = [Prompting(instruction)] if instruction else []
    shown = _that_fit(model, instruction, shown, _with_room(texts, plan.n_new, paired=paired))
    if shown:
        asked.append(Prompting(examples=tuple(shown)))
    if shown and instruction:
        asked.append(Prompting(instruction, tuple(shown)))
    return [Cell((prompting,)) for prompting in asked]


def _examples(fit: ContrastSet, n: int, seed: int) -> list[str]:
    """Positive texts, of different contrasts as long as there are any."""
    pairs = list(zip(fit.pairs, fit.groups, strict=True))
    Random(f"examples {seed}").shuffle(pairs)
    first = {group: pair.positive for pair, group in reversed(pairs)}
    texts = [*first.values(), *(pair.positive for pair, _ in pairs)]
    return list(dict.fromkeys(map(_as_example, texts)))[:n]


def _as_example(text: str) -> str:
    """A text without the chat template around it: an answer with its question, else what is said."""
    if not isinstance(text, ChatText):
        return text
    turns = [m for m in text.turns if m.role not in {"system", "developer"}]
    return Conversation(turns) if turns[-1].role == "assistant" else turns[-1].content


@cache
def _say_held(model: str, n: int, of: int) -> None:
    """Say for how many examples there is room, once for a model: a forecast asks again and again."""
    _log.info("the context of %s holds %d of %d examples", model, n, of)


def _with_room(texts: Texts, n_new: int, *, paired: bool) -> list[tuple[str, int]]:
    """The texts that are read after what asks, each with the tokens that are written after it."""
    prompts = [(p.text, n_new) for p in texts.all_prompts]
    pairs = [*texts.pairs.select.pairs, *texts.pairs.test.pairs] if paired else []
    return prompts + [(text, 0) for pair in pairs for text in (pair.positive, pair.negative)]


def _that_fit(
    model: LensModel, instruction: str, shown: list[str], texts: Sequence[tuple[str, int]]
) -> list[str]:
    """The first examples, as many as leave room for every text and what is written after it."""
    longest, room = max(texts, key=lambda text: len(model.tokens(text[0])) + text[1])
    for n in range(len(shown), 0, -1):
        try:
            model.tokens(Prompting(instruction, tuple(shown[:n])).seen(longest), room=room)
        except PromptTooLongError:
            continue
        if n < len(shown):
            _say_held(model.name, n, len(shown))
        return shown[:n]
    return []


@dataclass(frozen=True)
class Rival:
    """How asking in words does on the prompts that steering is stated on.

    Attributes:
        method: which kind of asking, as rows call it.
        shows: what counts: texts that are flipped and undamaged, or the shift of the log-odds.
        ahead: the same minus that of steering, item by item.
        kl_written: KL on the tokens that were written, in nats; NaN where that was not measured.
        costs: against plain.
        could_count: how many more of its texts are read and undamaged; None where texts are not read.
    """

    method: str
    shows: Estimate
    ahead: Estimate
    kl_written: float
    costs: tuple[Cost, ...]
    could_count: Estimate | None = None

    @property
    def words(self) -> str:
        """How is asked."""
        return METHODS[self.method]


def without_asking(summary: pd.DataFrame) -> pd.DataFrame:
    """A summary of conditions without those that ask, which have neither layer nor dose."""
    return summary[~summary.method.isin(METHODS)].reset_index(drop=True)


def find_rivals(
    table: pd.DataFrame, stated: Stated, select: Stated, cell: str
) -> tuple[Rival, ...]:
    """Every way of asking against a steered condition; the one that did best on the select split first.

    Args:
        table: the rows of a run.
        stated: of the split that is stated.
        select: of the split that chooses.
        cell: the steered condition.
    """
    labels = table[table.method.isin(METHODS)].drop_duplicates("cell").set_index("cell").method
    there = [c for c in labels.index if c in stated.success.index]
    if cell not in stated.success.index:
        return ()

    def before(asked: str) -> float:
        if asked not in select.success.index:
            return float("-inf")
        return float(select.success.loc[asked].mean())

    there.sort(key=lambda c: (-before(c), list(METHODS).index(labels[c])))
    return tuple(_rival(table, stated, cell, asked, labels[asked]) for asked in there)


def _rival(table: pd.DataFrame, stated: Stated, cell: str, asked: str, method: str) -> Rival:
    shows = stated.joint(asked) or stated.effect(asked)
    assert shows is not None
    kind, split, groups = stated.kind, stated.split, stated.groups
    gaps = stated.known(asked) - stated.known(cell)
    rows = table[(table.split == split) & (table.cell == asked)]
    return Rival(
        method,
        shows,
        difference(gaps, groups, split, kind.metric, share=kind.is_share),
        float(rows[rows.metric == KL_WRITTEN].value.mean()),
        tuple(Costs(table, split, kind.held_to, groups).of(asked)),
        stated.could_count_more(asked, cell),
    )
