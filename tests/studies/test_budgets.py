"""A token budget: the gamma by hand, the sampler's law, and whether it is said to help."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from steerscope.engine.budgets import Budget, GammaLengths, fit_lengths
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Sample
from steerscope.errors import BadValueError
from steerscope.runs.results import as_table
from steerscope.steering.interventions import Cell
from steerscope.studies.budgets.findings import ASKED, CUT, budget_effects
from steerscope.studies.budgets.measure import budget_rows
from steerscope.studies.budgets.plan import BudgetPlan
from steerscope.studies.budgets.wording import budgets_in_words
from steerscope.verification import verify

LENGTHS = GammaLengths(shape=4.0, mean=20.0)


def test_the_gamma_is_that_of_mean_and_variance():
    drawn = stats.gamma.rvs(4.0, scale=5.0, size=20000, random_state=0)
    found = fit_lengths([int(x) for x in np.round(drawn)])
    assert found.mean == pytest.approx(20.0, rel=0.02)
    assert found.shape == pytest.approx(4.0, rel=0.05)
    with pytest.raises(BadValueError, match="differ in length"):
        fit_lengths([5, 5, 5])


def test_the_chance_of_keeping_within_a_budget_by_hand():
    cdf = stats.gamma(4.0, scale=5.0).cdf
    assert LENGTHS.within(30, 10) == pytest.approx((cdf(30) - cdf(10)) / (1 - cdf(10)))
    assert LENGTHS.within(30, 0) == pytest.approx(cdf(30))
    assert LENGTHS.within(30, 30) == 0.0
    falling = [LENGTHS.within(30, n) for n in range(31)]
    assert falling == sorted(falling, reverse=True)


class Probabilities:
    """A sampler that keeps what it is given."""

    repetition_penalty = 1.0

    def choose(self, logits, keys):
        self.seen = logits.softmax(dim=-1)
        return logits.argmax(dim=-1)


def test_what_goes_on_is_weighed_by_its_chance():
    inner, logits = Probabilities(), torch.tensor([[0.0, 1.0, -1.0]] * 3)
    Budget(30, LENGTHS, (2,), inner).choose(logits, ["p|0|0", "p|0|20", "p|0|30"])
    plain = logits[0].softmax(dim=-1)
    for row, written in enumerate((0, 20)):
        chance = LENGTHS.within(30, written)
        weighed = plain * torch.tensor([chance, chance, 1.0])
        torch.testing.assert_close(inner.seen[row], weighed / weighed.sum())
    assert inner.seen[2].tolist() == [0.0, 0.0, 1.0]  # at the budget it ends


def test_no_text_is_longer_than_its_budget_and_a_wide_one_changes_nothing(load):
    model = load("llama")
    ends, sampler = tuple(sorted(model.vocabulary.ends)), Sample(1.0, 0)
    prompts = [f"w{i} w{i + 1}" for i in range(10, 22)]
    short = generate(model, prompts, Cell(), n_new=12, sampler=Budget(5, LENGTHS, ends, sampler))[0]
    assert max(len(text.tokens) for text in short) <= 5
    assert all(text.ended for text in short)
    wide = Budget(10**6, LENGTHS, ends, sampler)
    free, same = (generate(model, prompts, Cell(), n_new=12, sampler=s)[0] for s in (sampler, wide))
    assert [t.tokens for t in free] == [t.tokens for t in same]


def test_a_budget_of_nothing_is_refused():
    for tokens, ends in ((0, (1,)), (5, ())):
        with pytest.raises(BadValueError, match="at least one token"):
            Budget(tokens, LENGTHS, ends)
    with pytest.raises(BadValueError, match="is none"):
        GammaLengths(0.0, 5.0)


def test_a_trial_is_paired_and_says_what_it_costs(load):
    model = load("llama")
    prompts = [f"w{i} w{i + 1}" for i in range(5, 65)]
    plan = BudgetPlan(budgets=(4, 200), longest=60, temperature=1.0)
    rows, texts = budget_rows(model, prompts, plan)
    table = budget_effects(as_table(rows))
    short, wide = table.set_index("budget").loc[4], table.set_index("budget").loc[200]
    assert (
        short.ended + short.forced + short["empty"] == 1.0
    )  # an end at the budget is the budget's, not the text's
    assert short.forced > 0
    assert short.gain == pytest.approx(short.ended - short.ended_cut)
    assert short.tokens <= 4
    assert wide.n == len(prompts) // 2
    assert len(texts) == 3 * wide.n  # plain, and under each budget
    said = budgets_in_words(table)
    assert said[0].startswith("A budget of 4 tokens")
    assert f"n = {len(prompts) // 2} prompts" in said[0]
    assert (short["empty"], wide["empty"]) == tuple(
        np.mean(
            [r.value for r in rows if (r.metric, r.method, r.dose_absolute) == ("empty", ASKED, b)]
        )
        for b in (4, 200)
    )
    with pytest.raises(BadValueError, match="at least 4 prompts"):
        budget_rows(model, prompts[:3], plan)
    for wrong in (
        {"budgets": ()},
        {"budgets": (4, 4)},
        {"budgets": (0,)},
        {"budgets": (1.5,)},
        {"n_prompts": 3},
    ):
        with pytest.raises(BadValueError):
            BudgetPlan(**{"budgets": (4,), **wrong})


def test_a_budget_that_leaves_nothing_does_not_help():
    def rows(arm, n):
        values = {
            "ended": float(n > 0),
            "forced": 0.0,
            "empty": float(n == 0),
            "tokens": n,
            "nats": 2.0,
        }
        return [
            {"dose_absolute": 8.0, "method": arm, "prompt": i, "metric": m, "value": v}
            for i in range(20)
            for m, v in values.items()
        ]

    [said] = budgets_in_words(budget_effects(pd.DataFrame([*rows(CUT, 0), *rows(ASKED, 0)])))
    assert "is not shown to help" in said
    assert "100 % are empty" in said


@pytest.mark.parametrize(
    ("gain", "cost_low", "said"),
    [
        (0.4, -0.1, "helps:"),
        (0.4, 0.1, "helps at a price"),
        (0.4, math.nan, "at a price that is not known"),
        (0.0, -0.1, "is not shown to help"),
    ],
)
def test_the_sentence_follows_gain_and_cost(gain, cost_low, said):
    row = {
        "budget": 8, "ended_cut": 0.2, "ended": 0.2 + gain, "gain": gain, "low": gain - 0.1,
        "high": gain + 0.1, "p_holm": 0.001 if gain else 1.0, "forced": 0.1, "empty": 0.0, "tokens": 6.0, "nats_cut": 2.0,
        "nats": 2.1, "cost": 0.1, "cost_low": cost_low, "cost_high": 0.3, "n": 20,
    }  # fmt: skip
    assert said in budgets_in_words(pd.DataFrame([row]))[0]
    assert math.isfinite(row["nats"])


def test_the_command_keeps_a_run_whose_numbers_are_computed_again(run_cli, tiny_folder, tmp_path):
    prompts, out = tmp_path / "prompts.txt", tmp_path / "run"
    prompts.write_text("".join(f"w{i} w{i + 1}\n" for i in range(5, 65)))
    asked = ["--model", tiny_folder("llama"), "--prompts", prompts, "--longest", 60]
    code, said, errors = run_cli("budget", "4,8", *asked, "--temperature", 1, "--out", out)
    assert code == 0, errors
    assert "A budget of 4 tokens" in said
    found = verify(out)
    assert not found.differences
    assert found.n_printed >= 2 * 14
    table = out / "tables" / "budgets.csv"
    table.write_text(table.read_text().replace("\n4,", "\n5,"))
    assert verify(out, weights=False).differences
    prompts.write_text("w1 w2\n" * 9)
    assert "prompts_sha256" in str(verify(out, weights=False).differences)
