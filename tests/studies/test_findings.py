"""What a report says, on runs whose rows are made by hand."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, replace

import pytest

from steerscope.judges.card import Card
from steerscope.judges.effects import Effect
from steerscope.judges.microworld import LIMITS
from steerscope.runs.results import Run
from steerscope.statistics import Estimate, prompts_needed, wilson
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.layer_words import goal_of, layers_in_words
from steerscope.studies.steering.plan import StudyPlan, SweepPlan
from steerscope.studies.steering.stated import needed_for
from steerscope.studies.steering.wording import answer, verdict
from tests.helpers import null_rows, plain_rows, steered_rows

FLIPPED = Effect(
    "flipped",
    "share",
    "continuations whose mood is flipped",
    positive="joyful",
    negative="gloomy",
    limits=LIMITS,
)


def finished(path, rows, plan=None, effect=FLIPPED):
    plan = plan or StudyPlan(doses=(1.0, 2.0), reference_dose=1.0)
    configuration = {"kind": type(plan).__name__, **asdict(plan), "effect": asdict(effect)}
    run = Run.start(path, configuration, provenance={"fingerprint": "f"})
    run.append(rows)
    run.seal()
    return run


def sweep_rows():
    """Layer 1 flips most at dose 1, the last layer (3) needs 1.75 for half, layer 0 never does."""
    shares = {0: (0.05, 0.1), 1: (0.8, 0.9), 2: (0.5, 0.7), 3: (0.2, 0.6)}
    rows = plain_rows()
    for layer, (one, two) in shares.items():
        rows += steered_rows(layer, 1.0, one) + steered_rows(layer, 2.0, two, topic=0.5)
        rows += steered_rows(layer, 1.0, 0.05, method="random", seed=1)
    return rows


def held_out_rows(*, effect=0.7, random=0.1, topic=1.0, nulls=19):
    return (
        plain_rows("test")
        + steered_rows(1, 1.0, effect, split="test", topic=topic)
        + steered_rows(1, -1.0, 0.6, split="test")
        + steered_rows(1, 1.0, random, method="random", seed=9, split="test")
        + steered_rows(1, 1.0, random, method="label_shuffled", seed=9, split="test")
        + (null_rows(nulls, random) if nulls else [])
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
        "on 60 held-out prompts",
        "Flipped and undamaged: 70.0 % [",
        "19 random directions, the best of them 10.0 %, rank p <= 0.05",
        "+60.0 points [",
        "towards gloomy: 60.0 %",
        "topic kept 100.0 % to 100.0 %",
        "chosen among 8 conditions",
    ):
        assert words in said


def test_too_few_nulls_are_not_a_test(tmp_path):
    for nulls, said in (
        (0, "not tested against nulls"),
        (18, "tested against 18 nulls of a kind, where 19 at least could tell"),
    ):
        found = find(finished(tmp_path / str(nulls), sweep_rows() + held_out_rows(nulls=nulls)))
        assert verdict(found) == (
            f"Not shown: whether microworld can be steered towards joyful; {said}."
        )


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [("null_random", "covariance-matched random"), ("null_covariance_matched", "random")],
)
def test_nulls_of_one_kind_alone_are_no_yes(tmp_path, kind, lacking):
    rows = sweep_rows() + held_out_rows(nulls=0) + null_rows(19, 0.1, kinds=(kind,))
    found = find(finished(tmp_path / "r", rows))
    assert verdict(found) == (
        "Not shown: whether microworld can be steered towards joyful; "
        f"not tested against nulls that are {lacking} directions."
    )
    said = next(s for s in answer(found) if s.startswith("Nulls, each at its own"))
    assert said.endswith(f"; no {lacking} directions, so not tested against those.")


def test_nulls_that_do_as_well_are_no_yes(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows(random=0.7)))
    said = verdict(found)
    assert said.startswith("Not shown: ")
    assert (
        "19 of 19 random directions, each at its own best layer and dose, do as well, p = 1" in said
    )
    assert "the effect is not surely above that of label-shuffled directions" in said


@pytest.mark.parametrize("share_lost", [0.1, 1.0])
def test_nulls_whose_logits_are_no_numbers_are_not_beaten(tmp_path, share_lost):
    rows = sweep_rows() + held_out_rows()
    cells = sorted({row.cell for row in rows if row.split == "null" and row.cell != "plain"})
    gone = set(cells[:: round(1 / share_lost)])
    rows = [
        replace(row, value=math.nan, status="not_finite")
        if row.split == "null" and row.cell in gone
        else row
        for row in rows
    ]
    found = find(finished(tmp_path / "r", rows))
    assert sum(rank.lost for rank in found.nulls) == len(gone)
    for rank in found.nulls:
        assert rank.p == pytest.approx((1 + rank.lost) / (rank.n + 1))
    assert verdict(found).startswith("Not shown: ")
    assert "gave logits that are not finite, so that it is not known to beat them" in verdict(found)
    assert "count as at least as good" in " ".join(answer(found))
    assert math.isnan(found.nulls[0].best) == (share_lost == 1.0)


def test_an_error_of_the_audit_is_in_the_sentence(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows()))
    assert verdict(found, ["the prompts are shared"]).endswith(
        "; the audit has an error: the prompts are shared."
    )


def card(sensitivity, specificity, n=200):
    rates = [wilson(round(n * rate), n) for rate in (sensitivity, specificity)]
    auc = (sensitivity + specificity) / 2
    return Card(Estimate(auc, auc - 0.05, auc + 0.05, 2 * n), *rates, unread=0, source="pairs")


def judged(path, found_by, plain=0.0):
    """The same rows as those of a judge that gives scores, with its card."""
    effect = Effect("shown", "share", "continuations that show joy by words", "joy", "the opposite")
    rows = [
        replace(r, metric="shown") if r.metric == "flipped" else r
        for r in sweep_rows() + held_out_rows()
    ]
    shown = {("plain", p) for p in range(round(plain * 60))}
    rows = [
        replace(r, value=1.0) if r.metric == "shown" and (r.cell, r.prompt) in shown else r
        for r in rows
    ]
    plan = StudyPlan(doses=(1.0, 2.0), reference_dose=1.0)
    configuration = {"kind": "StudyPlan", **asdict(plan), "effect": asdict(effect)}
    run = Run.start(path, configuration, provenance={"fingerprint": "f"})
    run.append(rows)
    (run.path / "judge.json").write_text(json.dumps({"card": found_by.stored()}))
    run.seal()
    return find(run)


def test_damaged_texts_do_not_count_by_mistake_either(tmp_path):
    rows = [
        replace(r, metric="shown") if r.metric == "flipped" else r
        for r in sweep_rows() + held_out_rows(effect=0.8, topic=0.2)
    ]
    shown = {p for p in range(60) if p % 10 < 3}  # by mistake, of texts without steering
    rows = [
        replace(r, value=float(r.prompt in shown))
        if r.metric == "shown" and r.cell == "plain"
        else r
        for r in rows
    ]
    effect = replace(FLIPPED, metric="shown")
    configuration = {"kind": "StudyPlan", "effect": asdict(effect)}
    plan = StudyPlan(doses=(1.0, 2.0), reference_dose=1.0)
    run = Run.start(tmp_path / "r", asdict(plan) | configuration, provenance={"fingerprint": "f"})
    run.append(rows)
    (run.path / "judge.json").write_text(json.dumps({"card": card(0.85, 0.7, 10**6).stored()}))
    found = find(run)
    assert found.could_count.value == pytest.approx(-0.8, abs=0.05)
    raw = found.joint.value - 0.3
    assert found.gain.value == pytest.approx((raw - 0.3 * found.could_count.value) / 0.55, abs=1e-4)


def test_a_gain_that_a_judge_counted_is_corrected_for_its_errors(tmp_path):
    found = judged(tmp_path / "r", card(0.9, 0.95))
    assert found.corrected_effect.value == pytest.approx((0.7 + 0.95 - 1) / 0.85)
    assert found.gain.value == pytest.approx(0.7 / 0.85)
    assert found.needed_items > 2
    said = " ".join(answer(found))
    assert "Corrected for the errors of the judge: 76.5 % [" in said
    assert "of all texts as the judge reads them, +" in said
    assert "] above plain once its errors are corrected for." in said
    assert "flip" not in said.lower()
    assert "show joy in 50 % of the texts" in said


def test_the_items_that_a_corrected_gain_needs_are_told_from_its_interval():
    half = 1.96 * 0.5 / math.sqrt(100)
    found = Estimate(0.3, 0.3 - half, 0.3 + half, 100)
    assert needed_for(found, half, 0.1) == prompts_needed(0.2, 0.5)
    wider = math.hypot(half, 0.1)  # half a gap is what the errors of the judge leave open
    found = Estimate(0.3, 0.3 - wider, 0.3 + wider, 100)
    assert needed_for(found, half, 0.1) == prompts_needed(math.sqrt(0.2**2 - 0.1**2), 0.5)
    assert needed_for(found, half, 0.21) is None


def test_the_opposite_dose_is_not_said_to_lead_to_what_it_is_not_counted_by(tmp_path):
    found = judged(tmp_path / "r", card(0.9, 0.95))
    found = replace(found, card=None, mirrored=Estimate(0.6, 0.5, 0.7, 60))
    said = " ".join(answer(found))
    assert "The same dose the other way, what still shows it: 60.0 %" in said
    assert "flipped" not in said.lower()


def test_a_judge_that_cannot_tell_decides_nothing_and_is_not_corrected(tmp_path):
    found = judged(tmp_path / "r", card(0.6, 0.5))
    assert found.corrected_effect is None
    assert found.gain.value == pytest.approx(0.7)
    said = verdict(found)
    assert said.startswith(
        "Not shown: whether microworld can be steered towards joy; the judge cannot"
    )
    assert said.count("cannot tell") == 1
    assert "corrected" not in " ".join(answer(found)).lower()


def test_what_plain_texts_show_already_is_not_what_a_dose_is_asked_for(tmp_path):
    found = judged(tmp_path / "r", card(0.9, 0.95), plain=0.6)
    assert found.level == pytest.approx(0.8)
    assert goal_of(found) == ("show", "joy in 80 % of the texts")


def test_an_effect_of_no_interest_is_a_no_and_one_that_may_be_is_not_shown(tmp_path):
    none = find(finished(tmp_path / "none", sweep_rows() + held_out_rows(effect=0.0, random=0.0)))
    assert verdict(none).startswith("No: microworld was not steered towards joyful: ")
    assert "below the smallest effect of interest, 10 points" in verdict(none)
    open_ = find(finished(tmp_path / "open", sweep_rows() + held_out_rows(effect=0.15, random=0.0)))
    said = verdict(open_)
    assert said.startswith("Not shown: ")
    assert re.search(r"over 60 prompts .* takes about [\d,]+", said)


@pytest.mark.parametrize(("unread", "metric"), [(1, "shown"), (20, "shown"), (20, "flipped")])
def test_texts_without_a_score_may_show_the_effect_so_that_many_allow_no_no(
    tmp_path, unread, metric
):
    cell = "mean_diff 1 1.0 -1"
    rows = [
        replace(r, value=math.nan, status="unread") if r.cell == cell and r.prompt < unread else r
        for r in held_out_rows(effect=0.0, random=0.0)
    ]
    rows += [
        replace(r, metric="unread", value=float(r.status == "unread"), status="ok")
        for r in rows
        if r.metric == "kept_topic"
    ]
    rows = [replace(r, metric=metric) if r.metric == "flipped" else r for r in sweep_rows() + rows]
    effect = replace(FLIPPED, metric=metric)
    found = find(finished(tmp_path / "r", rows, effect=effect))
    assert found.gain.value == 0
    assert found.gain.high < 0.1
    said = verdict(found)
    if unread == 1 or metric == "flipped":  # an oracle reads what there is of the concept
        assert said.startswith("No: ")
    else:
        assert said.startswith("Not shown: ")
        assert (
            "the judge could not read 33.3 % of the steered texts, which may show the eff" in said
        )
        assert "takes" not in said


def test_texts_that_flip_and_break_are_no_success(tmp_path):
    """40 of 60 flip; the first 30 of all keep their topic, so that 30 do both."""
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows(effect=2 / 3, topic=0.5)))
    assert found.stated.value == pytest.approx(2 / 3)
    assert found.joint.value == pytest.approx(0.5)


def test_an_empty_text_is_no_success_and_its_unknown_cost_is_no_kept_one(tmp_path):
    rows = sweep_rows() + held_out_rows()
    emptied = [
        replace(r, value=math.nan, status="empty") if r.cell == "mean_diff 1 1.0 -1" else r
        for r in rows
        if r.split == "test"
    ]
    empty = [
        replace(r, metric="empty", value=float(r.status == "empty"))
        for r in emptied
        if r.metric == "kept_topic"
    ]
    found = find(finished(tmp_path / "r", [r for r in rows if r.split != "test"] + emptied + empty))
    assert found.joint.value == 0
    said = verdict(found)
    assert said.startswith("No: ")
    costs = " ".join(answer(found))
    assert "texts empty 0.0 % to 100.0 %" in costs
    assert "topic kept unknown (read in 0 of 60 texts)" in costs
    assert " nan" not in said + costs


def test_the_answer_says_that_the_last_layer_needs_more(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows()))
    assert layers_in_words(found) == (
        "Layers: to flip half of the prompts, layer 1 needs least, 0.62 natural; "
        "the last layer needs more: layer 3 not before 2, where a limit is broken or unknown (means over "
        "60 prompts at least, without an interval)."
    )


def test_a_broken_choice_is_a_price(tmp_path):
    rows = plain_rows() + steered_rows(1, 1.0, 0.9, topic=0.2) + held_out_rows(topic=0.8)
    plan = StudyPlan(doses=(1.0,), reference_dose=1.0)
    found = find(finished(tmp_path / "r", rows, plan))
    assert found.chosen.broken
    assert verdict(found).startswith("Yes, at a price: ")


def test_a_limit_that_only_the_held_out_prompts_break_is_a_price_in_numbers(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows(topic=0.85)))
    assert not found.chosen.broken  # on the split that chose
    (cost,) = [c for c in found.costs if c.is_broken]
    assert (cost.metric, cost.limit) == ("kept_topic", 0.05)  # plain texts do not vary
    assert cost.worse.value == pytest.approx(0.15)  # 9 of 60 prompts
    assert cost.worse.low < 0.15 < cost.worse.high
    assert verdict(found).startswith(
        "Yes, at a price: microworld can be steered towards joyful; topic kept worse by 15.0 points ["
    )
    assert verdict(found).endswith("] (limit 5.0).")


def test_a_cost_is_judged_by_its_interval_and_not_at_its_edge(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows(topic=0.97)))
    (cost,) = [c for c in found.costs if c.metric == "kept_topic"]
    assert not cost.is_broken
    assert not cost.is_kept
    assert verdict(found).startswith("Yes, at a price: ")


def test_nats_under_the_plain_model_are_a_price_in_their_own_unit(tmp_path):
    rows = sweep_rows() + held_out_rows()
    nats = {"plain": 2.0, "mean_diff 1 1.0 -1": 2.75}
    rows += [
        replace(r, metric="nll_plain", unit="nats", value=nats[r.cell] + 0.1 * (-1) ** r.prompt)
        for r in rows
        if r.split == "test" and r.metric == "kept_topic" and r.cell in nats
    ]
    found = find(finished(tmp_path / "r", rows))
    (cost,) = [c for c in found.costs if c.metric == "nll_plain"]
    assert cost.limit == pytest.approx(0.2, abs=0.01)  # two standard deviations of the plain texts
    assert verdict(found).startswith("No: ")  # and by three each text is damaged
    assert found.stated.value == pytest.approx(0.7)


def test_a_sweep_alone_confirms_nothing(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows(), SweepPlan(doses=(1.0, 2.0))))
    assert found.stated is None
    assert "not yet confirmed" in verdict(found)
    assert "of the select split" in " ".join(answer(found))


def turned(rows, split, cells):
    """The rows with the effect of the first four prompts given by hand, for each condition."""
    changed = []
    for row in rows:
        given = cells.get("plain" if row.cell == "plain" else row.dose_natural)
        mine = (
            row.split == split and row.metric == "flipped" and row.method in ("plain", "mean_diff")
        )
        if given is not None and mine and row.prompt < 4:
            row = replace(row, value=given[row.prompt])  # noqa: PLW2901 - a changed copy of it
        changed.append(row)
    return changed


def test_the_anti_steered_are_the_texts_that_show_it_without_steering_alone(tmp_path):
    # of four prompts one turns away, one cannot be read when steered, one shows both times
    given = {"plain": [1.0, 1.0, 1.0, 0.0], 1.0: [0.0, math.nan, 1.0, 1.0]}
    rows = turned(sweep_rows() + held_out_rows(), "test", given)
    found = find(finished(tmp_path / "r", rows))
    stated = {r.prompt for r in rows if r.split == "test" and r.metric == "flipped"}
    assert found.anti_steered.value == pytest.approx(1 / (len(stated) - 1))
    share = f"Anti-steered: {100 * found.anti_steered.value:.1f} % ["
    assert any(s.startswith(share) for s in answer(found))
