"""A study within a budget: as many prompts as a time or a number of tokens allows, told before it begins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Literal

from steerscope.errors import BadValueError
from steerscope.progress import Track, silent
from steerscope.runs.results import Run, has_measured
from steerscope.studies.steering.forecast import beside_of, prepared_to_count
from steerscope.studies.steering.pace import pace_of
from steerscope.studies.steering.plan import AUTO, GRID, RACE, StudyPlan
from steerscope.studies.steering.prepare import Prepared
from steerscope.studies.steering.steps import steps_of
from steerscope.texts.contrasts import PromptSet

_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
}
_TOKENS = ("token", "tokens")
_LEAST = (12, 24)  # prompts to choose on and to state on, with which hardly anything can be told
_STEP = 0.05  # of the prompts


@dataclass(frozen=True)
class Budget:
    """What a study may take.

    Attributes:
        amount: how much.
        unit: seconds, or tokens that are written.
        words: as it was asked for.
    """

    amount: float
    unit: Literal["seconds", "tokens"]
    words: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget written as `10min`, `2 hours`, `90s` or `200,000 tokens`.

        Raises:
            BadValueError: none of these, or nothing at all.
        """
        number = r"([0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,15})(\.[0-9]{1,6})?"
        found = re.fullmatch(rf"\s*{number}\s*([a-z]+)\s*", text.lower())
        amount = float(found[1].replace(",", "") + (found[2] or "")) if found else 0.0
        unit = found[3] if found else ""
        if not amount > 0 or unit not in {*_SECONDS, *_TOKENS}:
            raise BadValueError(
                f"cannot read the budget {text!r}; write 10min, 2h, 90s or 200000tokens."
            )
        if unit in _TOKENS:
            return cls(amount, "tokens", text.strip())
        return cls(amount * _SECONDS[unit], "seconds", text.strip())

    def said(self, amount: float) -> str:
        """So many tokens, or so much time, in words."""
        if self.unit == "tokens":
            return f"{amount:,.0f} tokens"
        return f"{amount:.0f} s" if amount < 90 else f"{amount / 60:.1f} min"


@dataclass(frozen=True)
class Fitted:
    """A plan within a budget.

    Attributes:
        plan: with the search and the numbers of prompts that fit.
        select: prompts to choose on, of how many.
        test: prompts to state on, of how many.
        expected: what it takes, in the unit of the budget.
        most: what it takes at most, as far as that can be told.
        budget: that it is within.
    """

    plan: StudyPlan
    select: tuple[int, int]
    test: tuple[int, int]
    expected: float
    most: float
    budget: Budget

    def __str__(self) -> str:
        said = self.budget.said
        return (
            f"budget {self.budget.words}: search {self.plan.search}, {self.select[0]} of {self.select[1]} prompts to "
            f"choose on and {self.test[0]} of {self.test[1]} to state on; about {said(self.expected)}, at most "
            f"{said(self.most)}, in one process; the page comes on top"
        )


def plan_within(
    plan: StudyPlan,
    budget: Budget,
    *,
    device: str | None = None,
    memory: str | None = None,
    progress: Track = silent,
) -> Fitted:
    """The plan with as many prompts as a budget allows, at its worst; nothing is kept of the trial.

    A grid that `auto` would take gives way to a race first; then both splits of the prompts shrink alike, down to 12
    to choose on and 24 to state on. Tokens are those of the texts that are measured, counted as if none ended
    early; what a judge has the model write to be fitted on comes on top. Seconds are told from a piece of the run's
    own work, timed now, which counts too; they are kept as long as the machine is no busier later.

    Args:
        plan: what would be measured without a budget.
        budget: what it may take.
        device: as in `load_model`.
        memory: as in `load_model`.
        progress: shows the loops.

    Raises:
        BadValueError: the least that can be told anything by takes more.
        SteerscopeError: any of the input errors of the run.
    """
    began = perf_counter()
    with prepared_to_count(plan, (device, memory), progress) as (bound, start):
        cost = _tokens if budget.unit == "tokens" else _seconds(bound, start, began)
        found = None
        for found in _smaller(plan, bound):
            expected, most = cost(found)
            if most <= budget.amount:
                return _fitted(plan, bound, found, (expected, most), budget)
    assert found is not None
    n_select, n_test = _sizes(found)
    raise BadValueError(
        f"a budget of {budget.words} is too small: {n_select} prompts to choose on and {n_test} to state on take up to "
        f"{budget.said(most)}. Allow more, or name fewer layers (--layers), doses (--doses), nulls (--nulls) or new tokens "
        "(--n-new)."
    )


def as_it_was(plan: StudyPlan, folder: Path) -> StudyPlan | None:
    """The plan with the search and the prompts of a run that was begun there; None where nothing is measured.

    Raises:
        RunError: there is a run that cannot be read.
    """
    if not has_measured(folder):
        return None
    stored = Run.open(folder).configuration
    return replace(
        plan,
        search=str(stored.get("search", GRID)),
        max_select=int(stored.get("max_select", plan.max_select)),
        max_test=int(stored.get("max_test", plan.max_test)),
    )


def _smaller(plan: StudyPlan, bound: Prepared) -> Iterator[Prepared]:
    """The plan with all prompts, then with fewer and fewer."""
    whole = _sizes(bound)
    if plan.search == AUTO and bound.search == GRID:
        yield bound
        bound = replace(bound, plan=replace(plan, search=RACE))
    seen = set()
    for step in range(round(1 / _STEP), -1, -1):
        sizes = tuple(
            min(n, max(least, round(step * _STEP * n)))
            for n, least in zip(whole, _LEAST, strict=True)
        )
        if sizes not in seen:
            seen.add(sizes)
            yield _limited(bound, sizes)


def _sizes(bound: Prepared) -> tuple[int, ...]:
    """Prompts of the select and the test split, each once however many texts it has."""
    prompts = bound.texts.prompts
    return tuple(len(part) // bound.plan.samples for part in (prompts.select, prompts.test))


def _limited(bound: Prepared, sizes: tuple[int, ...]) -> Prepared:
    """The same with the first prompts of either split."""

    def first(part: PromptSet, n: int) -> PromptSet:
        return replace(part, prompts=part.prompts[: n * bound.plan.samples])

    prompts = bound.texts.prompts
    select, test = (first(*p) for p in zip((prompts.select, prompts.test), sizes, strict=True))
    texts = replace(bound.texts, prompts=replace(prompts, select=select, test=test))
    return replace(bound, texts=texts)


def _seconds(
    bound: Prepared, start: float, began: float
) -> Callable[[Prepared], tuple[float, float]]:
    """What a plan takes in seconds, and at most, the trial that began then among it."""
    pace, fixed = pace_of(bound), start + beside_of(bound)
    fixed += perf_counter() - began

    def cost(smaller: Prepared) -> tuple[float, float]:
        steps = list(steps_of(smaller.plan, smaller))
        expected = fixed + sum(pace.seconds(step) for step in steps)
        return expected, expected + sum(pace.more(step) for step in steps)

    return cost


def _tokens(bound: Prepared) -> tuple[float, float]:
    """What a plan writes in tokens where no text ends early, and at most."""
    steps = list(steps_of(bound.plan, bound))
    expected = bound.plan.n_new * sum(step.texts for step in steps)
    return expected, expected + bound.plan.n_new * sum(step.more for step in steps)


def _fitted(
    plan: StudyPlan,
    whole: Prepared,
    found: Prepared,
    cost: tuple[float, float],
    budget: Budget,
) -> Fitted:
    (n_select, n_test), (of_select, of_test) = _sizes(found), _sizes(whole)
    fits = replace(
        plan,
        search=found.search,
        max_select=plan.max_select if n_select == of_select else n_select,
        max_test=plan.max_test if n_test == of_test else n_test,
    )
    return Fitted(fits, (n_select, of_select), (n_test, of_test), *cost, budget)
