"""What a study or a sweep would take: its steps counted, and timed on a short piece of its own work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TypeVar

from steerscope.doses import Dose, check_unit
from steerscope.eigengaps import eigengap
from steerscope.engine.generation import attempt, generation_plan
from steerscope.engine.score import kl_from_plain, preferences
from steerscope.errors import SteerscopeError
from steerscope.models.memory import MemoryPlan
from steerscope.progress import Track, silent
from steerscope.steering.interventions import Cell
from steerscope.steering.scopes import Scope
from steerscope.studies.bench import TEXTS_AT_ONCE, Material, dose_cells
from steerscope.studies.steering.asking import asking_cells
from steerscope.studies.steering.nulls import few_pairs, few_prompts, null_costs
from steerscope.studies.steering.plan import RACE, Plan, StudyPlan, SweepPlan
from steerscope.studies.steering.prepare import Prepared, prepare
from steerscope.studies.steering.search import BESIDE, rounds_of, texts_of_race
from steerscope.studies.workers import Block
from steerscope.texts.contrasts import Prompt, PromptSet

Item = TypeVar("Item")
_ENOUGH = 3.0  # seconds that a probe has to take to be believed
_FEW, _MOST = 16, 32  # texts of the first probe; conditions of the largest
_STEPS = (4, 16)  # new tokens of the two probes, through which a line is laid
_READ = 8  # texts that are written to their end, to see how long they are
_LOOKS = (
    2  # times the first prompts, after which most nulls of a method that steers are clearly behind
)
_SHARE = 4  # of the prompts, one in so many, for the spectra


@dataclass(frozen=True)
class Step:
    """A part of a plan, counted.

    Attributes:
        words: what it is.
        conditions: how many.
        texts: that are written, conditions times prompts.
        read: prompts that are read under a condition without writing.
        pairs: pairs that are compared under a condition.
        more: texts beyond those that come only where the best dose of a layer changes from round to round,
            or nulls stay near the method.
        when: that is so, in words.
    """

    words: str
    conditions: int
    texts: float = 0.0
    read: float = 0.0
    pairs: float = 0.0
    more: float = 0.0
    when: str = ""


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
    """

    text: float
    token: float
    batch: float
    batch_token: float
    read: float
    pair: float
    tokens: float

    def seconds(self, step: Step) -> float:
        """What a step takes."""
        written = self.writing(step.texts)
        return written + step.read * self.read + step.pairs * self.pair

    def writing(self, texts: float) -> float:
        """What texts take."""
        batches = math.ceil(texts / TEXTS_AT_ONCE)
        each = texts * (self.text + self.token * self.tokens)
        return each + batches * (self.batch + self.batch_token * self.tokens)


@dataclass(frozen=True)
class Forecast:
    """What a plan would take in one process.

    Attributes:
        steps: its parts, with the seconds of each.
        pace: that they were told from.
        start: seconds to load the model and to find the directions, as measured.
        beside: seconds for the spectra of the keys.
        memory: what generation needs at once.
    """

    steps: tuple[tuple[Step, float], ...]
    pace: Pace
    start: float
    beside: float
    memory: MemoryPlan

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.start + self.beside + sum(seconds for _, seconds in self.steps)

    @property
    def more(self) -> float:
        """Seconds on top where doses change in every round, and every null stays near the method to the end."""
        return sum(self.pace.writing(step.more) for step, _ in self.steps)

    @property
    def why_more(self) -> list[str]:
        """When that is so, for the steps that it comes from."""
        return [step.when for step, _ in self.steps if step.more]

    @property
    def texts(self) -> int:
        """Texts that are written."""
        return round(sum(step.texts for step, _ in self.steps))

    @property
    def tokens(self) -> int:
        """Tokens of them."""
        return round(self.texts * self.pace.tokens)


def forecast_study(
    plan: Plan,
    *,
    device: str | None = None,
    memory: str | None = None,
    progress: Track = silent,
) -> Forecast:
    """What a study or a sweep would take; nothing of it is kept.

    The model is loaded and the directions are found, as the run does; then a piece of the run's own
    work, at two lengths of text, is timed for a few seconds. A race is counted as one in which layers keep
    their best doses. The machine may be busier later.

    Raises:
        SteerscopeError: any of the input errors of the run.
    """
    with TemporaryDirectory(prefix="steerscope-") as folder:
        started = perf_counter()
        bound = prepare(plan, Path(folder) / "run", (device, memory), progress)
        start = perf_counter() - started
        plan = replace(plan, search=bound.search) if isinstance(plan, StudyPlan) else plan
        longest = bound.texts.longest(bound.model, plan.n_new)
        pace = _pace(bound)
        steps = tuple((step, pace.seconds(step)) for step in steps_of(plan, bound))
        needed = generation_plan(bound.model, longest, plan.n_new, sampler=plan.sampler)[0]
        return Forecast(steps, pace, start, _beside(bound), needed)


def steps_of(plan: Plan, bound: Prepared) -> Iterator[Step]:
    """The parts of a plan: each condition, on the prompts of which its judge can tell."""
    n_layers, several = len(bound.directions), int(plan.all_layers and len(bound.directions) > 1)
    controls = n_layers * plan.n_sweep_controls
    yield _plain(bound, "select")
    if isinstance(plan, SweepPlan):
        signs = [math.copysign(1, dose) for dose in plan.doses if dose]
        each = n_layers * (1 + plan.n_sweep_controls) + several
        texts = sum(each * _prompts(bound, "select", int(sign)) for sign in signs)
        yield _measured(bound, "select", "the grid", each * len(signs), texts)
        return
    assert isinstance(plan, StudyPlan)
    yield _plain(bound, "test")
    yield from _select(plan, bound, controls, several)
    yield from _test(plan, bound, several)
    yield from _nulls(plan, bound)


def _select(plan: StudyPlan, bound: Prepared, controls: int, several: int) -> Iterator[Step]:
    n_layers, n_doses = len(bound.directions), len(plan.doses)
    up, down = (_prompts(bound, "select", sign) for sign in (1, -1))
    asked = _asked(plan, bound)
    if plan.search == RACE:
        share = up / len(bound.texts.prompts.select.prompts)  # of the prompts that have room
        n_prompts = len(bound.texts.prompts.select.prompts) // plan.samples
        rounds = rounds_of(n_layers, n_doses, n_prompts)
        n = sum(r.layers * r.doses for r in rounds)
        most, texts = (
            plan.samples * texts_of_race(rounds, steady=steady) * max(share, 0.0)
            for steady in (False, True)
        )
        beside = plan.samples * (controls * rounds[0].prompts + asked * min(BESIDE, up))
        step = _measured(bound, "select", "the race", n, texts)
        yield replace(step, more=most - texts, when="the race changes its doses to the end")
        yield _measured(bound, "select", "controls and asking", controls + asked, beside)
    else:
        grid = n_layers * n_doses * (up + down)
        yield _measured(bound, "select", "the grid", 2 * n_layers * n_doses, grid)
        beside = (controls + asked) * up
        yield _measured(bound, "select", "controls and asking", controls + asked, beside)
    if several:
        yield _measured(bound, "select", "all layers", 2 * n_doses, n_doses * (up + down))


def _test(plan: StudyPlan, bound: Prepared, several: int) -> Iterator[Step]:
    up, down = (_prompts(bound, "test", sign) for sign in (1, -1))
    n_doses, controls = len(plan.doses), 2 * plan.n_controls + (plan.other is not None)
    asked = _asked(plan, bound)
    if plan.search == RACE:
        n_few = min(BESIDE * plan.samples, up)
        n = 2 + controls + asked + 2 * (n_doses - 1)
        texts = (1 + controls + asked + several) * up + down + 2 * (n_doses - 1) * n_few
    else:
        n = (1 + controls) * 2 * n_doses + asked
        texts = (1 + controls) * n_doses * (up + down) + (asked + several) * up
    yield _measured(bound, "test", "what is stated", n, texts)


def _nulls(plan: StudyPlan, bound: Prepared) -> Iterator[Step]:
    race = plan.search == RACE
    costs = null_costs(plan.nulls, len(bound.directions), len(plan.doses), race=race)
    if not costs.nulls:
        return
    few = len(few_pairs(bound.texts.pairs.select, race=race).pairs)
    read = len(few_prompts(bound.texts.prompts.select, race=race).prompts)
    n = costs.screened
    yield Step("screening of nulls", n, read=n * read, pairs=n * few)
    up, stated = _prompts(bound, "test", 1), "the nulls"
    if not bound.judge.effect.is_share:
        n_test = len(bound.texts.prompts.test.prompts)
        pairs = costs.stated * len(bound.texts.pairs.test.pairs)
        yield Step(stated, costs.stated, read=costs.stated * n_test, pairs=pairs)
        return
    likely = min(_LOOKS * BESIDE * plan.samples, up) if race else up
    step = _measured(bound, "test", stated, costs.stated, costs.stated * likely)
    near = "the nulls stay near the method: of one that is clearly behind, fewer texts are written"
    yield replace(step, more=costs.stated * (up - likely), when=near)


def _asked(plan: StudyPlan, bound: Prepared) -> int:
    """Conditions that ask in words."""
    judged = bound.judge.effect.is_share
    return len(asking_cells(plan, bound.model, bound.texts, judged=judged))


def _plain(bound: Prepared, split: str) -> Step:
    n = _prompts(bound, split, 0)
    return _measured(bound, split, f"the plain model ({split})", 1, n)


def _prompts(bound: Prepared, split: str, sign: int) -> int:
    """Prompts of a split on which a judge can tell what a condition of a sign does."""
    prompts = getattr(bound.texts.prompts, split).prompts
    return sum(bound.judge.applies(p, sign) for p in prompts)


def _measured(bound: Prepared, split: str, words: str, n: int, texts: float) -> Step:
    """A step that writes, and compares pairs where the judge does not tell all."""
    compared = bound.bench(bound.material(split)).compared
    return Step(words, n, texts, pairs=n * len(compared))


def _pace(bound: Prepared) -> Pace:
    """The pace of the run's own work, on more and more texts until they take long enough.

    A batch of many texts takes less than many times one of few, so that both are timed.
    """
    of = bound.texts.prompts.select
    prompts = [p for p in of.prompts if bound.judge.applies(p, 1)] or [*of.prompts]
    plan = bound.plan
    assert isinstance(plan, StudyPlan | SweepPlan)
    unit = plan.unit if isinstance(plan, SweepPlan) else "natural"
    doses = [Dose(d, check_unit(unit)) for d in sorted({abs(d) for d in plan.doses if d})]
    cells = dose_cells(bound.directions.values(), doses, Scope.parse(plan.scope))
    lengths = [min(n, plan.n_new) for n in _STEPS]

    def timed(n_texts: int) -> tuple[int, list[float]]:
        """The number of texts that there were, and the seconds of them at either length."""
        some, asked = _piece(cells, prompts, n_texts)
        n = len(some) * len(asked)
        return n, [_writing(bound, k, some, replace(of, prompts=asked)) for k in lengths]

    timed(_FEW)  # warms up
    n_texts, before = _FEW, timed(_FEW)
    while True:
        n_texts *= 4
        now = timed(n_texts)
        if now[0] < n_texts // 2 or max(now[1]) > _ENOUGH:
            break
        before = now
    laid = [_line(before[0], b, now[0], n) for b, n in zip(before[1], now[1], strict=True)]
    (batch, batch_token), (text, token) = (
        _through(lengths, part) for part in zip(*laid, strict=True)
    )
    some, asked = _piece(cells, prompts, n_texts)
    n = len(some) * len(asked)
    given = [p.text for p in asked]
    pairs = [(p.positive, p.negative) for p in _spread(bound.texts.pairs.select.pairs, len(given))]
    read = _seconds(lambda: kl_from_plain(bound.model, given, some)) / n
    pair = _seconds(lambda: preferences(bound.model, pairs, some)) / (len(some) * len(pairs))
    length = _length(bound, some[:1], given)
    return Pace(text, token, batch, batch_token, read, pair, length)


def _piece(
    cells: Sequence[Cell], prompts: Sequence[Prompt], n_texts: int
) -> tuple[list[Cell], tuple[Prompt, ...]]:
    """Conditions and prompts that make about so many texts, as far as there are."""
    some = _spread(cells, min(_MOST, math.isqrt(n_texts)))
    return some, tuple(_spread(prompts, n_texts // len(some)))


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


def _writing(bound: Prepared, n_new: int, cells: Sequence[Cell], prompts: PromptSet) -> float:
    """Seconds to write, to read and to judge texts of so many tokens."""
    short = replace(bound, plan=replace(bound.plan, n_new=n_new), plain={})
    bench = short.bench(Material("select", prompts, bound.texts.pairs.select))
    everyone = tuple(range(len(prompts.prompts)))
    bench.work(Block((Cell(),), everyone, ()))  # the plain texts, which are written once
    return _seconds(lambda: bench.work(Block(tuple(cells), everyone, ())))


def _length(bound: Prepared, cells: Sequence[Cell], prompts: Sequence[str]) -> float:
    """Tokens of a text that is written to its end."""
    plan = bound.plan
    some = _spread(prompts, _READ)
    found = attempt(bound.model, some, cells, n_new=plan.n_new, sampler=plan.sampler)[0]
    return sum(len(text.tokens) for text in found) / len(found)


def _beside(bound: Prepared) -> float:
    """Seconds for the spectra of all prompts, from those of some."""
    texts = list(dict.fromkeys(p.text for p in bound.texts.prompts.select.prompts))
    some = _spread(texts, max(2, len(texts) // _SHARE))
    took = 0.0
    with suppress(SteerscopeError):  # of a model without attention keys there are none
        took = _seconds(lambda: eigengap(bound.model, some))
        if took < _ENOUGH:
            return _seconds(lambda: eigengap(bound.model, texts))
    return took * len(texts) / len(some)


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def _spread(items: Sequence[Item], n: int) -> list[Item]:
    """So many items, from the first to the last at equal distances; all if there are no more."""
    n = max(1, min(n, len(items)))
    return [items[round(i * (len(items) - 1) / max(1, n - 1))] for i in range(n)]
