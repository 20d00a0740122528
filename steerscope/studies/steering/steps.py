"""What a study or a sweep measures, counted part by part before it begins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from steerscope.studies.steering.asking import asking_of
from steerscope.studies.steering.nulls import few_pairs, few_prompts, null_costs
from steerscope.studies.steering.plan import RACE, Plan, StudyPlan, SweepPlan
from steerscope.studies.steering.prepare import Prepared
from steerscope.studies.steering.search import (
    BESIDE,
    Round,
    coarse,
    conditions_of_race,
    rounds_of,
    texts_of_race,
)

_LOOKS = (
    2  # times the first prompts, after which most nulls of a method that steers are clearly behind
)


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
        alone: whether nothing is read of a text but what the judge says of it.
    """

    words: str
    conditions: int
    texts: float = 0.0
    read: float = 0.0
    pairs: float = 0.0
    more: float = 0.0
    when: str = ""
    alone: bool = False


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
        rounds = _rounds(plan, bound, up)
        most, texts = (
            plan.samples * texts_of_race(rounds, steady=steady) for steady in (False, True)
        )
        few = min(BESIDE * plan.samples, up)
        beside = controls * plan.samples * rounds[0].prompts + asked * few
        step = _measured(bound, "select", "the race", conditions_of_race(rounds), texts)
        yield replace(step, more=most - texts, when="the race changes its doses to the end")
        yield _measured(bound, "select", "controls and asking", controls + asked, beside)
    else:
        grid = n_layers * n_doses * (up + down)
        yield _measured(bound, "select", "the grid", 2 * n_layers * n_doses, grid)
        beside = (controls + asked) * up
        yield _measured(bound, "select", "controls and asking", controls + asked, beside)
    if several:
        yield _measured(bound, "select", "all layers", 2 * n_doses, n_doses * (up + down))


def _rounds(plan: StudyPlan, bound: Prepared, n_texts: int) -> list[Round]:
    """The rounds of a race, on the prompts of so many texts on which a judge can tell."""
    n_prompts = len(bound.texts.prompts.select.prompts) // plan.samples
    rounds = rounds_of(len(bound.directions), len(plan.doses), n_prompts)
    first = replace(rounds[0], doses=len(coarse(plan.doses, plan.reference_dose)))
    most = n_texts // plan.samples
    return [replace(r, prompts=min(r.prompts, most)) for r in (first, *rounds[1:])]


def _test(plan: StudyPlan, bound: Prepared, several: int) -> Iterator[Step]:
    up, down = (_prompts(bound, "test", sign) for sign in (1, -1))
    n_doses, controls = len(plan.doses), 2 * plan.n_controls + (plan.other is not None)
    asked = _asked(plan, bound)
    if plan.search == RACE:
        few = sum(min(BESIDE * plan.samples, n) for n in (up, down))
        n = 2 + controls + asked + several + 2 * (n_doses - 1)
        texts = (1 + controls + asked + several) * up + down + (n_doses - 1) * few
    else:
        n = (1 + controls) * 2 * n_doses + asked + several
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
    yield replace(step, more=costs.stated * (up - likely), when=near, alone=True)


def _asked(plan: StudyPlan, bound: Prepared) -> int:
    """Conditions that ask in words."""
    return len(asking_of(plan, bound))


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
