"""What a report says, on runs whose rows are made by hand."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from steerscope.judges.effects import Effect
from steerscope.judges.microworld import LIMITS
from steerscope.runs.results import Run
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.plan import StudyPlan, SweepPlan
from steerscope.studies.steering.wording import answer, layers_in_words, verdict
from tests.helpers import plain_rows, steered_rows

FLIPPED = Effect(
    "flipped",
    "share",
    "continuations whose mood is flipped",
    positive="joyful",
    negative="gloomy",
    limits=LIMITS,
)


def finished(path, rows, plan=None):
    plan = plan or StudyPlan(doses=(1.0, 2.0), reference_dose=1.0)
    configuration = {"kind": type(plan).__name__, **asdict(plan), "effect": asdict(FLIPPED)}
    run = Run.start(path, configuration, provenance={"fingerprint": "f"})
    run.append(rows)
    return run


def sweep_rows():
    """Layer 1 flips most at dose 1, the last layer (3) needs 1.75 for half, layer 0 never does."""
    shares = {0: (0.05, 0.1), 1: (0.8, 0.9), 2: (0.5, 0.7), 3: (0.2, 0.6)}
    rows = plain_rows()
    for layer, (one, two) in shares.items():
        rows += steered_rows(layer, 1.0, one) + steered_rows(layer, 2.0, two, topic=0.5)
        rows += steered_rows(layer, 1.0, 0.05, method="random", seed=1)
    return rows


def held_out_rows(*, effect=0.7, random=0.1, topic=0.95):
    return (
        plain_rows("test")
        + steered_rows(1, 1.0, effect, split="test", topic=topic)
        + steered_rows(1, -1.0, 0.6, split="test")
        + steered_rows(1, 1.0, random, method="random", seed=9, split="test")
        + steered_rows(1, 1.0, random, method="label_shuffled", seed=9, split="test")
    )


def test_the_answer_names_layer_dose_effect_cost_and_certainty(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows()))
    assert (found.chosen.layer, found.chosen.dose_natural) == (1, 1.0)
    assert found.stated.value == pytest.approx(0.7)
    assert found.over_random.value == pytest.approx(0.6)
    assert verdict(found) == "Yes: microworld can be steered towards joyful."
    said = " ".join(answer(found))
    for words in (
        "resid_post of layer 1 (0-based), +1 natural (0.20 of a typical activation, length 10)",
        "70.0 % [",
        "on 20 held-out prompts",
        "+60.0 points [",
        "towards gloomy: 60.0 %",
        "topic kept 100.0 % to 95.0 %",
        "chosen among 8 conditions",
    ):
        assert words in said


def test_the_answer_says_that_the_last_layer_needs_more(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows()))
    assert layers_in_words(found) == (
        "Layers: to flip half of the prompts, layer 1 needs least, 0.62 natural; "
        "the last layer needs more: layer 3 not before 2 breaks a limit."
    )


def test_no_more_than_random_is_a_no(tmp_path):
    rows = sweep_rows() + held_out_rows(effect=0.15, random=0.15)
    assert verdict(find(finished(tmp_path / "r", rows))).startswith("No: microworld was not")


def test_a_broken_choice_is_a_price(tmp_path):
    rows = plain_rows() + steered_rows(1, 1.0, 0.9, topic=0.2) + held_out_rows()
    plan = StudyPlan(doses=(1.0,), reference_dose=1.0)
    assert verdict(find(finished(tmp_path / "r", rows, plan))) == (
        "Only at a price: every dose that steers microworld breaks something."
    )


def test_a_limit_that_only_the_held_out_prompts_break_is_a_price_in_numbers(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows(topic=0.85)))
    assert not found.chosen.broken  # on the split that chose
    (cost,) = [c for c in found.costs if c.is_broken]
    assert (cost.metric, cost.limit) == ("kept_topic", 0.10)
    assert cost.worse.value == pytest.approx(0.15)  # 3 of 20 prompts
    assert cost.worse.low < 0.15 < cost.worse.high
    assert verdict(found) == (
        "Yes, at a price: microworld can be steered towards joyful; "
        "topic kept worse by 15.0 points (limit 10)."
    )


def test_a_cost_at_its_limit_is_no_price(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows(topic=0.90)))
    assert not any(c.is_broken for c in found.costs)
    assert verdict(found).startswith("Yes: ")


def test_nats_under_the_plain_model_are_a_price_in_their_own_unit(tmp_path):
    rows = sweep_rows() + held_out_rows()
    nats = {"plain": 2.0, "mean_diff 1 1.0 -1": 3.25}
    rows += [
        replace(r, metric="nll_plain", unit="nats", value=nats[r.cell])
        for r in rows
        if r.split == "test" and r.metric == "kept_topic" and r.cell in nats
    ]
    assert verdict(find(finished(tmp_path / "r", rows))).endswith(
        "; nats per token under the plain model worse by 1.25 (limit 1)."
    )


def test_a_sweep_alone_confirms_nothing(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows(), SweepPlan(doses=(1.0, 2.0))))
    assert found.stated is None
    assert "not yet confirmed" in verdict(found)
    assert "of the select split" in " ".join(answer(found))
