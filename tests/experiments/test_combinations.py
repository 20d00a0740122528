"""Arms at one KL, of which one may overflow or be out of reach."""

from __future__ import annotations

import logging

import pytest

from steerscope.errors import NotFiniteError, NotReachedError
from steerscope.experiments.jobs import combinations
from steerscope.experiments.jobs.arms import arms_of_rows, best_of
from steerscope.experiments.jobs.combinations import CombinationStep
from steerscope.experiments.jobs.job import Machine
from steerscope.judges.effects import SHOWN, SHOWN_UNDAMAGED, UNDAMAGED
from steerscope.progress import silent
from steerscope.runs.results import Run
from steerscope.studies.steering.plan import effect_of
from steerscope.verification.judged import check_judged


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFiniteError("the KL is nan at a dose of 1"), "not_finite"),
        (NotReachedError("the KL is nan at a dose of 1"), "not_reached"),
    ],
    ids=["overflow", "out of reach"],
)
def test_an_arm_without_numbers_is_named_in_its_rows_and_the_others_go_on(  # noqa: PLR0913
    tmp_path, monkeypatch, caplog, error, status
):
    def dose(_model, arm, _kl, _texts):
        if arm.name.endswith(" 0"):
            raise error
        return 0.5, 0.1

    monkeypatch.setattr(combinations, "matched_dose", dose)
    step = CombinationStep(
        model="microworld", contrasts="mood", prompts=None, other=None, layers=(0, 1), kl=0.1,
        n_kl_prompts=2, n_select=2, n_test=2, n_new=3, temperature=0.0, seed=0, dtype="auto",
        backbone="auto",
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        table = step.make(tmp_path / "run", Machine(), silent).table()
    lost = table[table.status == status]
    assert set(lost.cell) == {"single layer 0"}
    assert lost.value.isna().all()
    assert set(table.cell) == {"plain", "single layer 0", "single layer 1", "all layers"}
    assert "single layer 0: the KL is nan" in caplog.text
    metric = table.metric.iloc[0]
    arms = arms_of_rows(table, metric, "test")
    assert arms.loc["single layer 0"].isna().all()
    assert arms.drop("single layer 0").notna().all(axis=None)
    best = best_of(table, metric, "single layer")
    assert best == (None if status == "not_finite" else "single layer 1")  # the lost one may be it


def test_by_a_judge_that_gives_scores_a_damaged_text_is_no_effect(tmp_path, monkeypatch):
    monkeypatch.setattr(combinations, "matched_dose", lambda *_: (40.0, 9.0))
    step = CombinationStep(
        model="microworld", contrasts="mood", prompts=None, other=None, layers=(2, 4), kl=0.1,
        n_kl_prompts=2, n_select=4, n_test=8, n_new=12, temperature=0.0, seed=0, dtype="auto",
        backbone="auto", judging={"judge": "regex:."},
    )  # fmt: skip
    run = step.make(tmp_path / "run", Machine(), silent)
    table, metric = run.table(), effect_of(run).metric
    assert metric == SHOWN_UNDAMAGED
    by = table.pivot(index=["cell", "split", "prompt"], columns="metric", values="value")
    assert (by[SHOWN] == 1).all()
    assert (by[SHOWN_UNDAMAGED] == by[UNDAMAGED]).all()
    means = arms_of_rows(table, metric, "test").mean(axis=1)
    assert means["plain"] >= 0.5
    assert (means.drop("plain") < 0.3).all()
    assert not check_judged(Run.open(run.path))[1]
    turned = table.assign(value=table.value.where(table.metric != SHOWN_UNDAMAGED, 1 - table.value))
    monkeypatch.setattr(Run, "table", lambda _self: turned)
    assert len(check_judged(Run.open(run.path))[1]) == (table.metric == SHOWN_UNDAMAGED).sum()
