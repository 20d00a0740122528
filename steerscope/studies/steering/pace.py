"""How fast a machine does the work of a plan: a short piece of that work, timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TypeVar

from steerscope.doses import Dose, check_unit
from steerscope.engine.generation import attempt
from steerscope.engine.score import kl_from_plain, preferences
from steerscope.steering.interventions import Cell
from steerscope.steering.scopes import Scope
from steerscope.studies.bench import TEXTS_AT_ONCE, Material, dose_cells
from steerscope.studies.steering.plan import StudyPlan, SweepPlan
from steerscope.studies.steering.prepare import Prepared
from steerscope.studies.steering.steps import Step
from steerscope.studies.workers import Block
from steerscope.studies.written import Unjudged
from steerscope.texts.contrasts import Prompt, PromptSet

Item = TypeVar("Item")
ENOUGH = 3.0  # seconds that a probe has to take to be believed
_FEW, _MOST = 16, 32  # texts of the first probe; conditions of the largest
_STEPS = (4, 16)  # new tokens of the two probes, through which a line is laid
_READ = 8  # texts that are written to their end, to see how long they are


@dataclass(frozen=True)
class Pace:
    """Seconds on this machine, now.

    Attributes:
        text: for a text, however long.
        token: for each token of it.
        batch: for the texts that are written together, however many and long.
        batch_token: for each token of such a batch.
        read: for a prompt that is read.
        pair: for a pair that is compared.
        tokens: that a text has, on average.
        alone: share of the time of a text where nothing is read of it but what the judge says.
    """

    text: float
    token: float
    batch: float
    batch_token: float
    read: float
    pair: float
    tokens: float
    alone: float = 1.0

    def seconds(self, step: Step) -> float:
        """What a step takes."""
        return self._writing(step, step.texts) + step.read * self.read + step.pairs * self.pair

    def more(self, step: Step) -> float:
        """What a step may take on top."""
        return self._writing(step, step.more)

    def _writing(self, step: Step, texts: float) -> float:
        """What texts of a step take."""
        batches = math.ceil(texts / TEXTS_AT_ONCE)
        each = texts * (self.text + self.token * self.tokens)
        whole = each + batches * (self.batch + self.batch_token * self.tokens)
        return whole * (self.alone if step.alone else 1.0)


def pace_of(bound: Prepared) -> Pace:
    """The pace of the run's own work, on more and more texts until they take long enough.

    A batch of many texts takes less than many times one of few, so that both are timed.
    """
    of = bound.texts.prompts.select
    prompts = [p for p in of.prompts if bound.judge.applies(p, 1)] or [*of.prompts]
    cells, lengths = _steered(bound), [min(n, bound.plan.n_new) for n in _STEPS]

    def timed(n_texts: int) -> tuple[int, list[float]]:
        """The number of texts that there were, and the seconds of them at either length."""
        some, asked = _piece(cells, prompts, n_texts)
        n = len(some) * len(asked)
        return n, [_writing(bound, k, some, replace(of, prompts=asked)) for k in lengths]

    some, asked = _piece(cells, prompts, _FEW)
    _writing(bound, 2, some, replace(of, prompts=asked))  # warms up
    n_texts, before = _FEW, timed(_FEW)
    while True:
        n_texts *= 4
        now = timed(n_texts)
        if now[0] < n_texts // 2 or max(now[1]) > ENOUGH:
            break
        before = now
    (batch, batch_token), (text, token) = _lines(lengths, before, now)
    some, asked = _piece(cells, prompts, n_texts)
    n = len(some) * len(asked)
    given = [p.text for p in asked]
    pairs = [(p.positive, p.negative) for p in spread(bound.texts.pairs.select.pairs, len(given))]
    read = seconds_of(lambda: kl_from_plain(bound.model, given, some)) / n
    pair = seconds_of(lambda: preferences(bound.model, pairs, some, written=True)) / (
        len(some) * len(pairs)
    )
    length = _length(bound, some[:1], given)
    shorter = _writing(bound, lengths[-1], some, replace(of, prompts=asked), alone=True)
    return Pace(text, token, batch, batch_token, read, pair, length, min(1.0, shorter / now[1][-1]))


def _steered(bound: Prepared) -> list[Cell]:
    """Every layer at every dose of a plan, towards positive."""
    plan = bound.plan
    assert isinstance(plan, StudyPlan | SweepPlan)
    unit = check_unit(plan.unit if isinstance(plan, SweepPlan) else "natural")
    doses = [Dose(d, unit) for d in sorted({abs(d) for d in plan.doses if d})]
    return dose_cells(bound.directions.values(), doses, Scope.parse(plan.scope))


def _lines(
    lengths: Sequence[int], few: tuple[int, list[float]], many: tuple[int, list[float]]
) -> list[tuple[float, float]]:
    """Of a batch and of each text in it, what is the same at any length and what each token adds."""
    laid = [_line(few[0], a, many[0], b) for a, b in zip(few[1], many[1], strict=True)]
    return [_through(lengths, part) for part in zip(*laid, strict=True)]


def _piece(
    cells: Sequence[Cell], prompts: Sequence[Prompt], n_texts: int
) -> tuple[list[Cell], tuple[Prompt, ...]]:
    """Conditions and prompts that make about so many texts, as far as there are."""
    some = spread(cells, min(_MOST, math.isqrt(n_texts)))
    return some, tuple(spread(prompts, n_texts // len(some)))


def _line(few: int, seconds_few: float, many: int, seconds_many: float) -> tuple[float, float]:
    """Seconds of a batch and of each text in it, from those of few texts and of many; neither is negative."""
    if many <= few:
        return 0.0, seconds_many / many
    text = min(max(0.0, seconds_many - seconds_few) / (many - few), seconds_many / many)
    return seconds_many - text * many, text


def _through(lengths: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """What is the same at any length, and what each token adds; neither is negative."""
    token = max(0.0, seconds[1] - seconds[0]) / max(1, lengths[1] - lengths[0])
    return max(0.0, seconds[0] - token * lengths[0]), token


def _writing(
    bound: Prepared, n_new: int, cells: Sequence[Cell], prompts: PromptSet, *, alone: bool = False
) -> float:
    """Seconds to write, to read and to judge texts of so many tokens; `alone`: to write and to judge them."""
    short = replace(bound, plan=replace(bound.plan, n_new=n_new), plain={})
    bench = short.bench(Material("select", prompts, bound.texts.pairs.select, judged_alone=alone))
    everyone = tuple(range(len(prompts.prompts)))
    bench.work(Block((Cell(),), everyone, ()))  # the plain texts, which are written once
    took = seconds_of(lambda: bench.work(Block(tuple(cells), everyone, ())))
    Unjudged(bound.run.path).clear()  # so that none is taken for written the next time
    return took


def _length(bound: Prepared, cells: Sequence[Cell], prompts: Sequence[str]) -> float:
    """Tokens of a text that is written to its end."""
    plan = bound.plan
    some = spread(prompts, _READ)
    found = attempt(bound.model, some, cells, n_new=plan.n_new, sampler=plan.sampler)[0]
    return sum(len(text.tokens) for text in found) / len(found)


def seconds_of(work: Callable[[], object]) -> float:
    """What a piece of work takes now."""
    started = perf_counter()
    work()
    return perf_counter() - started


def spread(items: Sequence[Item], n: int) -> list[Item]:
    """So many items, from the first to the last at equal distances; all if there are no more."""
    n = max(1, min(n, len(items)))
    return [items[round(i * (len(items) - 1) / max(1, n - 1))] for i in range(n)]
