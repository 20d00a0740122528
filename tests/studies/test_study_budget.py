"""A study within a budget takes no more than that, and says what it gave up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steerscope.errors import BadValueError
from steerscope.progress import silent
from steerscope.studies.steering import budget as budgets
from steerscope.studies.steering.budget import Budget, as_it_was, plan_within
from steerscope.studies.steering.measure import run_study
from steerscope.studies.steering.pace import Pace
from steerscope.studies.steering.plan import GRID, RACE, StudyPlan
from steerscope.studies.steering.prepare import prepare
from steerscope.studies.steering.steps import steps_of

PLAN = StudyPlan(
    layers=(1, 3, 5), doses=(1.0, 2.0, 3.0), n_new=2, max_select=60, max_test=60, nulls=2,
    n_controls=1, n_sweep_controls=1, search=RACE,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("10min", 600, "seconds"),
        ("1.5 h", 5400, "seconds"),
        ("90s", 90, "seconds"),
        ("2 hours", 7200, "seconds"),
        ("10 M", 600, "seconds"),
        ("1hr", 3600, "seconds"),
        ("200,000 tokens", 200_000, "tokens"),
        ("1token", 1, "tokens"),
    ],
)
def test_a_budget_is_a_time_or_a_number_of_tokens(text, amount, unit):
    found = Budget.parse(text)
    assert (found.amount, found.unit) == (amount, unit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "min",
        "0min",
        "-3h",
        "10 parsecs",
        "1e3s",
        "10mins and more",
        "1,5h",
        "10ms",
        "20,00tokens",
    ],
)
def test_a_budget_that_cannot_be_read_is_named(text):
    with pytest.raises(BadValueError, match="10min"):
        Budget.parse(text)


def test_a_larger_budget_gives_no_fewer_prompts_and_enough_gives_all():
    sizes = [plan_within(PLAN, Budget(amount, "tokens", "so many")) for amount in (900, 1100, 1e9)]
    assert [found.most <= found.budget.amount for found in sizes] == [True] * 3
    for smaller, larger in zip(sizes, sizes[1:], strict=False):
        assert smaller.select[0] <= larger.select[0]
        assert smaller.test[0] < larger.test[0]
    assert sizes[-1].plan == PLAN
    assert sizes[0].plan == replace(PLAN, max_select=sizes[0].select[0], max_test=sizes[0].test[0])
    assert f"{sizes[0].test[0]} of 60 to state on" in str(sizes[0])


@pytest.mark.slow
def test_the_tokens_of_a_budget_are_kept(tmp_path):
    found = plan_within(PLAN, Budget(2000, "tokens", "2000 tokens"))
    run = run_study(found.plan, tmp_path / "run")
    assert len(run.texts()) * PLAN.n_new <= 2000
    assert as_it_was(PLAN, tmp_path / "run") == found.plan
    assert as_it_was(PLAN, tmp_path / "none") is None


def test_a_grid_gives_way_to_a_race_before_prompts_are_given_up(tmp_path):
    plan = replace(PLAN, search="auto")
    bound = prepare(plan, tmp_path / "run", (None, None), silent)
    grid = PLAN.n_new * sum(step.texts for step in steps_of(bound.plan, bound))
    assert plan_within(plan, Budget(grid, "tokens", "all of it")).plan.search == GRID
    found = plan_within(plan, Budget(grid - 1, "tokens", "nearly"))
    assert (found.plan.search, found.test) == (RACE, (60, 60))


def test_seconds_are_those_of_the_pace_and_what_comes_on_top(monkeypatch):
    pace = Pace(text=1.0, token=0.0, batch=0.0, batch_token=0.0, read=0.0, pair=0.0, tokens=2.0)
    monkeypatch.setattr(budgets, "pace_of", lambda bound: pace)
    monkeypatch.setattr(budgets, "beside_of", lambda bound: 5.0)
    found = plan_within(PLAN, Budget(1000, "seconds", "1000 s"))
    tokens = plan_within(PLAN, Budget(2 * 1000, "tokens", "as many"))
    assert found.test[0] <= tokens.test[0]
    assert 5.0 < found.expected <= found.most <= 1000
    with pytest.raises(
        BadValueError, match=r"12 prompts to choose on and 24 to state on take up to"
    ):
        plan_within(PLAN, Budget(60, "seconds", "1 min"))
