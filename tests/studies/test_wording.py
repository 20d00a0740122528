"""What a page says of ties, of sweeps without a test split, and of what has no interval, by hand-made rows."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pandas as pd
import pytest

from steerscope.errors import BadValueError
from steerscope.judges.effects import PREFERENCE
from steerscope.report.why import why_here
from steerscope.runs.results import Run
from steerscope.statistics import Estimate
from steerscope.studies.steering.choice import sweet_spot
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.layer_words import layers_in_words
from steerscope.studies.steering.phrases import amount, prices
from steerscope.studies.steering.plan import StudyPlan, SweepPlan
from steerscope.studies.steering.verdict import Cost
from steerscope.studies.steering.wording import answer, verdict
from tests.helpers import plain_rows, steered_rows
from tests.studies.test_findings import FLIPPED, finished, held_out_rows, sweep_rows


def flat(share, *, doses=(0.5, 1.0)):
    """Layers 0 to 3, which flip the same share at every dose."""
    return [
        r
        for layer in range(4)
        for dose in doses
        for r in steered_rows(layer, dose, share, kl=0.1 + layer)
    ]


def test_layers_that_need_the_same_are_not_said_to_need_more(tmp_path):
    plan = StudyPlan(doses=(0.5, 1.0), reference_dose=1.0)
    found = find(finished(tmp_path / "r", plain_rows() + flat(1.0), plan))
    assert layers_in_words(found) == (
        "Layers: to flip half of the prompts, layers 0, 1, 2 and 3 need least, 0.25 natural (means over 60 "
        "prompts at least, without an interval)."
    )


def test_a_goal_that_is_reached_without_steering_needs_no_layer(tmp_path):
    plan = StudyPlan(doses=(0.5, 1.0), reference_dose=1.0)
    plain = [replace(r, value=1.0) for r in plain_rows()]
    found = find(finished(tmp_path / "r", plain + flat(1.0), plan))
    assert layers_in_words(found) == (
        "Layers: not ranked, since the goal to flip half of the prompts is reached without steering."
    )


def test_layers_that_were_not_measured_so_far_are_not_said_not_to_reach_it_there(tmp_path):
    plan = StudyPlan(doses=(0.5, 1.0), reference_dose=0.5)
    rows = [r for r in plain_rows() + flat(0.1) if (r.layer, r.dose_natural) != (2, 1.0)]
    found = find(finished(tmp_path / "r", rows, plan))
    assert layers_in_words(found).startswith(
        "Layers: none reaches the goal to flip half of the prompts at up to 1 natural (0.5 at some "
        "layers, the largest measured there) ("
    )


def in_nats(rows, shift):
    """The rows as log-odds that a dose shifts by so much."""
    return [
        replace(r, metric="preference", unit="nats", value=shift * r.dose_natural)
        for r in rows
        if r.metric == "flipped"
    ]


def preferring(path, rows, plan):
    configuration = {"kind": type(plan).__name__, **asdict(plan), "effect": asdict(PREFERENCE)}
    run = Run.start(path, configuration, provenance={"fingerprint": "f"})
    run.append(rows)
    return find(run)


def test_layers_are_not_ranked_by_the_dose_that_leads_away(tmp_path):
    plan = SweepPlan(doses=(0.5, 1.0))
    found = preferring(tmp_path / "r", in_nats(plain_rows() + flat(1.0), -1.0), plan)
    assert found.chosen.effect.value == pytest.approx(-0.5)
    assert layers_in_words(found) == (
        "Layers: not ranked by the dose that they need, since the effect of the chosen condition is "
        "-0.50 nats."
    )


def test_a_sweep_says_that_it_is_stated_where_it_was_chosen(tmp_path):
    plan = SweepPlan(doses=(1.0, 2.0))
    said = " ".join(answer(find(finished(tmp_path / "r", sweep_rows(), plan))))
    assert "chosen among 8 conditions on the very prompts that it is stated on" in said
    assert "on other prompts than" not in said
    assert "on 60 prompts of the select split" in said
    plan = SweepPlan(doses=(0.5, 1.0))
    found = preferring(tmp_path / "pairs", in_nats(plain_rows() + flat(1.0), 1.0), plan)
    said = " ".join(answer(found))
    assert "on 60 pairs of the select split" in said
    assert "conditions on the very pairs that it is stated on" in said
    assert "not yet confirmed on other pairs" in verdict(found)
    study = " ".join(answer(find(finished(tmp_path / "s", sweep_rows() + held_out_rows()))))
    assert "conditions on other prompts than those it is stated on" in study


def test_damage_that_plain_texts_have_as_well_is_not_unseen(tmp_path):
    rows = [
        replace(r, metric="degenerate", value=float(r.prompt % 10 == 0))
        if r.metric == "kept_topic" and r.split == "test"
        else r
        for r in sweep_rows() + held_out_rows()
    ]
    turned_over = {
        ("mean_diff 1 1.0 -1", p): float(p % 10 == 1) for p in range(60)
    }  # others than without steering, so that the interval is wide
    rows = [
        replace(r, value=turned_over.get((r.cell, r.prompt), r.value))
        if r.metric == "degenerate"
        else r
        for r in rows
    ]
    found = find(finished(tmp_path / "r", rows))
    (cost,) = found.costs
    assert not cost.is_kept
    assert cost.worse.value == pytest.approx(0.0)
    said = verdict(found)
    assert "without a sign" not in said
    assert prices(found.costs).startswith("texts collapsed into repetition worse by 0.0 points [")


def test_what_has_no_interval_is_in_the_unit_of_what_it_is():
    one = Estimate(1.0, math.nan, math.nan, 1)
    assert amount(FLIPPED, one, difference=True) == "+100.0 points (no interval: 1 distinct)"
    assert amount(FLIPPED, one) == "100.00 % (no interval: 1 distinct)"
    cost = Cost("degenerate", "texts collapsed", one, one, is_share=True, worse=one, limit=math.nan,
                asked=4, read=4)  # fmt: skip
    assert prices([cost]) == (
        "texts collapsed worse by 100.0 points (no interval: 1 distinct; limit unknown)"
    )


def test_a_condition_within_the_margin_was_passed_over_for_its_kl(tmp_path):
    plan = StudyPlan(doses=(1.0,), reference_dose=1.0)
    rows = plain_rows() + steered_rows(0, 1.0, 1.0, kl=0.5) + steered_rows(1, 1.0, 59 / 60, kl=0.1)
    found = find(finished(tmp_path / "r", rows, plan))
    assert found.chosen.layer == 1
    said = why_here(found)
    assert "no condition has a larger effect" not in said
    assert said.startswith(
        "Why layer 1 at +1: within 2 % of the largest effect on the select split, at no larger KL "
        "than 100.0 % ["
    )
    assert said.endswith(
        "] at layer 0, +1, and its costs are within the limits (98.3 % [91.0, 99.7])."
    )
    rows += steered_rows(2, 1.0, 1.0, kl=0.05, topic=0.2)
    said = why_here(find(finished(tmp_path / "broken", rows, plan)))
    assert "within 2 % of the largest effect on the select split whose costs are within" in said
    assert "Larger ones break a limit, such as 100.0 % [" in said


def test_a_sweep_without_a_positive_dose_is_refused_before_it_is_measured():
    with pytest.raises(BadValueError, match="at least one positive dose"):
        SweepPlan(doses=(-1.0, -2.0, 0.0))


def test_a_choice_without_a_positive_dose_says_so():
    table = pd.DataFrame(map(asdict, plain_rows() + steered_rows(1, -1.0, 0.6)))
    with pytest.raises(BadValueError, match="no positive dose of mean_diff"):
        sweet_spot(table, FLIPPED, "mean_diff")
