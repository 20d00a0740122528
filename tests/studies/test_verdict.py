"""What a run may not conclude: a No without room for an effect, a correction among what a race kept."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from steerscope.report.why import why_here
from steerscope.runs.results import NOT_FINITE
from steerscope.statistics import Estimate, wilson
from steerscope.statistics.misclassification import corrected_share
from steerscope.steering.prompting import INSTRUCTION
from steerscope.studies.steering.asking_words import asking_in_words
from steerscope.studies.steering.case import case_of
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.layer_words import layers_in_words
from steerscope.studies.steering.null_words import nulls_in_words
from steerscope.studies.steering.plan import StudyPlan, SweepPlan
from steerscope.studies.steering.stated import is_clear
from steerscope.studies.steering.verdict import Cost, decide
from steerscope.studies.steering.wording import answer, claim_of, slope_in_words, verdict
from steerscope.studies.steering.zones import no_zones_in_words, zones_of
from tests.helpers import null_rows, plain_rows, steered_rows
from tests.studies.test_findings import card, finished, held_out_rows, judged, sweep_rows
from tests.studies.test_wording import flat, in_nats, preferring


def test_plain_texts_that_show_it_already_leave_no_room_for_a_no_nor_for_zones(tmp_path):
    found = judged(tmp_path / "r", card(0.9, 0.95), plain=1.0)
    assert found.plain_joint.value == pytest.approx(1.0)
    found = replace(found, gain=Estimate(-0.02, -0.05, 0.01, 60))
    said = verdict(found)
    assert said.startswith("Not shown: ")
    assert (
        "without steering 100.0 % of the texts count already, which leaves no room for the smallest"
        in said
    )
    some = Estimate(0.85, 0.75, 0.92, 60)
    assert verdict(replace(found, plain_joint=some)).startswith("No: ")
    assert verdict(replace(found, plain_joint=replace(some, value=0.9))).startswith("No: ")
    assert zones_of(found) is None
    assert (
        no_zones_in_words(found) == "Zones: not told, since the goal is reached without steering."
    )


def test_what_a_race_kept_is_not_corrected_for_the_choice_among_it(tmp_path):
    plan = StudyPlan(doses=(1.0, 2.0), reference_dose=1.0, search="adaptive")
    rows = sweep_rows() + held_out_rows()
    assert find(finished(tmp_path / "grid", rows)).corrected is not None
    raced = find(finished(tmp_path / "race", rows, plan))
    assert raced.corrected is None
    assert "allowing for the choice" not in " ".join(answer(raced))


def test_plain_texts_that_cannot_count_leave_no_room_for_a_no_either(tmp_path):
    """Of texts that are all too short to be told undamaged, none counts with or without steering."""
    found = judged(tmp_path / "r", card(0.9, 0.95))
    found = replace(found, gain=Estimate(0.0, -0.01, 0.01, 60))
    assert found.plain_could == 1.0
    assert verdict(found).startswith("No: ")
    said = verdict(replace(found, plain_could=0.05, plain_joint=Estimate(0.0, 0.0, 0.06, 60)))
    assert said.startswith("Not shown: ")
    assert (
        "without steering 0.0 % of the texts count already, and at most 5.0 % of texts, steered or not, can (read "
        "and undamaged), which leaves no room" in said
    )


def test_plain_texts_that_the_judge_could_not_read_may_show_it(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows()))
    assert verdict(found).startswith("Yes: ")
    case = case_of(found)
    assert decide(replace(case, unread_plain=0.3)).answer == "Yes"
    missing = decide(replace(case, unread_plain=case.gain.low - case.smallest)).reasons
    assert "the judge could not read" in missing[0]
    assert "of the texts without steering, which may show the effect" in missing[0]


def test_where_more_counted_at_a_condition_that_was_not_chosen_there_is_no_no(tmp_path):
    """Layer 1 at dose 2 flips 90 % undamaged by the texts that count, over a limit of topic by its mean."""
    rows = plain_rows() + steered_rows(1, 1.0, 0.05) + steered_rows(1, 2.0, 0.9, topic=0.85)
    rows += steered_rows(1, 1.0, 0.05, method="random", seed=1)
    held_out = plain_rows("test") + steered_rows(1, 1.0, 0.0, split="test") + null_rows(19, 0.0)
    found = find(finished(tmp_path / "r", rows + held_out))
    assert (found.chosen.layer, found.chosen.dose_natural) == (1, 1.0)
    said = verdict(found)
    assert said.startswith("Not shown: ")
    assert "on the select split more counted elsewhere, which was not chosen: +8" in said
    assert "at layer 1, +2" in said
    alone = [r for r in rows if r.dose_natural != 2.0]
    assert verdict(find(finished(tmp_path / "alone", alone + held_out))).startswith("No: ")


def test_a_shift_of_the_log_odds_is_not_called_a_preference(tmp_path):
    plan = StudyPlan(doses=(0.5, 1.0), reference_dose=0.5)
    found = preferring(tmp_path / "r", in_nats(plain_rows() + flat(1.0), 3.0), plan)
    claim = claim_of(found)
    assert claim.yes.startswith(
        "steering moves the log-odds of microworld towards the positive texts"
    )
    assert "prefer" not in f"{claim.yes} {claim.no} {claim.open}"
    said = next(line for line in answer(found) if line.startswith("Effect: "))
    assert "shift from plain of the log-odds of the positive over the negative text, on " in said
    assert "of held-out pairs" not in said


def test_texts_that_could_not_be_read_are_no_fewer_distinct_prompts(tmp_path):
    rows = [
        replace(r, value=math.nan, status="unread")
        if (r.metric, r.split, r.dose_natural) == ("flipped", "test", 1.0) and r.prompt < 7
        and r.method == "mean_diff"
        else r
        for r in sweep_rows() + held_out_rows()
    ]  # fmt: skip
    found = find(finished(tmp_path / "r", rows))
    said = next(line for line in answer(found) if line.startswith("Effect: "))
    assert said.endswith("on 60 held-out prompts, 53 of them read.")
    assert found.n_distinct == 60


def test_by_a_judge_that_cannot_tell_no_layer_is_ranked_and_none_has_a_zone(tmp_path):
    found = judged(tmp_path / "r", card(0.55, 0.55))
    assert not found.card.tells
    assert layers_in_words(found) == "Layers: not ranked, since the judge cannot tell."
    assert slope_in_words(found) == "Slope: none is stated, since the judge cannot tell."
    assert zones_of(found) is None
    assert no_zones_in_words(found) == "Zones: not told, since the judge cannot tell."


def test_a_number_in_nats_has_no_sign_that_could_be_unseen():
    worse = Estimate(-0.05, -1.3, 1.2, 8)
    cost = Cost("nll_plain", "nats per token", worse, worse, False, worse, 0.9, asked=8, read=8)
    assert not cost.is_unseen
    assert replace(cost, is_share=True).is_unseen


def test_the_largest_dose_of_a_layer_is_its_own(tmp_path):
    """Of doses in relative units every layer has its own in natural ones."""
    rows = plain_rows() + steered_rows(1, 1.0, 0.8) + steered_rows(2, 3.0, 0.3)
    found = find(finished(tmp_path / "r", rows, SweepPlan(doses=(1.0, 3.0))))
    assert found.chosen.layer == 1
    assert "; no larger dose was measured." in answer(found)[0]


def test_steered_texts_that_can_count_though_plain_ones_cannot_leave_room_for_a_no(tmp_path):
    found = judged(tmp_path / "r", card(0.9, 0.95))
    none = Estimate(0.0, -0.01, 0.01, 60)
    dark = replace(found, gain=none, plain_could=0.05, plain_joint=Estimate(0.0, 0.0, 0.06, 60))
    assert verdict(dark).startswith("Not shown: ")
    assert verdict(replace(dark, could_count=Estimate(0.9, 0.8, 1.0, 60))).startswith("No: ")


def test_where_the_chosen_condition_had_a_sure_effect_itself_another_does_not_matter(tmp_path):
    rows = plain_rows() + steered_rows(1, 1.0, 0.8, kl=0.1) + steered_rows(2, 1.0, 0.81, kl=0.9)
    held_out = plain_rows("test") + steered_rows(1, 1.0, 0.0, split="test") + null_rows(19, 0.0)
    found = find(finished(tmp_path / "r", rows + held_out))
    assert found.chosen.layer == 1
    assert verdict(found).startswith("No: ")


def test_a_choice_beyond_the_limits_says_so_and_is_not_corrected_by_halves(tmp_path):
    rows = [replace(r, value=float(r.metric == "kept_topic" or r.prompt < 6)) for r in plain_rows()]
    rows += steered_rows(3, 1.0, 0.1) + steered_rows(3, 2.0, 0.5, topic=0.85)
    found = find(finished(tmp_path / "r", rows, SweepPlan(doses=(1.0, 2.0))))
    assert (found.chosen.dose_natural, found.corrected) == (2.0, None)
    assert why_here(found) == (
        "Why layer 3 at +2: no condition within the limits is above plain on the select split; of those within 2 % "
        "of the most texts that show it undamaged it has the largest effect."
    )


def test_a_surely_small_shift_is_not_said_to_be_none(tmp_path):
    plan = StudyPlan(doses=(0.5, 1.0), reference_dose=0.5)
    found = preferring(tmp_path / "r", in_nats(plain_rows() + flat(1.0), 0.3), plan)
    assert claim_of(found).no.startswith(
        "steering does not move the log-odds of microworld towards"
    )
    assert "by as much as is of interest" in claim_of(found).no


def test_what_is_clear_of_a_chosen_condition_that_did_not_hold_allows_no_no(tmp_path):
    rows = plain_rows() + steered_rows(1, 1.0, 0.3) + steered_rows(1, 2.0, 0.95, topic=0.85)
    held_out = plain_rows("test") + steered_rows(1, 1.0, 0.0, split="test") + null_rows(19, 0.0)
    found = find(finished(tmp_path / "r", rows + held_out))
    assert (found.chosen.layer, found.chosen.dose_natural) == (1, 1.0)
    assert "on the select split more counted elsewhere" in verdict(found)


def test_of_plain_texts_only_those_that_can_count_are_counted_by_mistake():
    """A judge with a specificity of 0.8 on texts of which a fifth is undamaged: 15 % count, hardly one by mistake."""
    rates = wilson(180, 200), wilson(160, 200)
    said = Estimate(0.15, 0.08, 0.25, 60)
    assert corrected_share(said, *rates).value == 0.0
    found = corrected_share(said, *rates, 0.2)
    assert found.value == pytest.approx((0.15 - 0.2 * 0.2) / 0.7)
    assert 0 <= found.low < found.value < found.high <= 0.2


def test_logits_that_are_no_numbers_allow_no_answer(tmp_path):
    """Of a condition that overflowed on held-out prompts nothing is known: it neither steers nor fails to."""
    rows = [
        replace(r, value=math.nan, kl_nats=math.nan, status=NOT_FINITE)
        if r.split == "test" and r.method == "mean_diff" and r.prompt < 20
        else r
        for r in sweep_rows() + held_out_rows(effect=0.9)
    ]
    found = find(finished(tmp_path / "some", rows))
    assert found.is_lost
    assert found.gain.n == 40  # and is not stated as if 20 had failed
    assert verdict(found).startswith("Not shown: ")
    assert verdict(found).endswith("smaller doses.")  # and nothing is said of nulls or costs
    assert "logits of the steered model are not finite" in verdict(found)
    assert "not compared" in nulls_in_words(found)
    low = replace(found, gain=Estimate(0.0, -0.02, 0.02, 40))
    assert verdict(low).startswith("Not shown: ")
    assert verdict(replace(low, is_lost=False)).startswith("No: ")


def test_layers_that_were_left_out_are_not_spoken_of(tmp_path):
    plan = StudyPlan(doses=(1.0, 2.0), reference_dose=1.0, layers=(0, 1, 2, 3))
    rows = sweep_rows() + held_out_rows()
    some = layers_in_words(find(finished(tmp_path / "some", rows, plan)))
    assert some.startswith(
        "Layers: to flip half of the prompts, of the 4 measured layer 1 needs least,"
    )
    assert "the last of them needs more: layer 3" in some
    alone = [r for r in rows if r.layer in (1, -1)]
    one = layers_in_words(find(finished(tmp_path / "one", alone, replace(plan, layers=(1,)))))
    assert one.startswith(
        "Layers: to flip half of the prompts, layer 1, the only one measured, needs 0.6"
    )


def test_a_condition_that_fell_behind_though_it_surely_had_an_effect_allows_no_no(tmp_path):
    found = find(finished(tmp_path / "r", sweep_rows() + held_out_rows()))
    summary = found.summary.copy()
    mine = summary.cell == found.chosen.cell
    summary.loc[mine, ["counts", "counts_low", "counts_high"]] = (0.0, -0.05, 0.05)
    summary.loc[~mine, ["counts", "counts_low", "counts_high"]] = (0.0, -0.05, 0.05)
    none = replace(found, gain=Estimate(0.0, -0.02, 0.02, 60), summary=summary)
    assert verdict(none).startswith("No: ")
    other = summary.index[(summary.method == "mean_diff") & ~mine][0]
    summary.loc[other, ["counts", "counts_low", "counts_high", "asked"]] = (0.9, 0.5, 1.0, 6)
    assert "on the select split more counted elsewhere" in verdict(none)


def test_few_distinct_prompts_are_never_clearly_ahead():
    ahead = pd.Series([0.5] * 12)
    assert not is_clear(ahead, np.arange(12) % 2)
    assert not is_clear(ahead, np.arange(12) % 5)
    assert is_clear(ahead, np.arange(12) % 6)
    assert not is_clear(-ahead, np.arange(12))


def test_a_null_that_was_stated_twice_counts_once_by_its_better_condition(tmp_path):
    """Another version may have begun the run, and have given the null another dose."""
    rows = sweep_rows() + held_out_rows()
    once = find(finished(tmp_path / "once", rows)).nulls
    again = [
        replace(
            r,
            cell=f"{r.cell} again",
            dose_natural=2.0,
            value=1.0 if r.metric == "flipped" else r.value,
        )
        for r in rows
        if r.split == "null" and r.seed in (0, 1) and r.method.startswith("null_")
    ]
    assert again
    twice = find(finished(tmp_path / "twice", rows + again)).nulls
    assert [rank.n for rank in twice] == [rank.n for rank in once]
    assert [rank.p for rank in twice] == pytest.approx([rank.p + 2 / (rank.n + 1) for rank in once])


def test_asking_is_not_told_apart_from_what_overflowed(tmp_path):
    asked = [
        replace(r, cell="asked", method=INSTRUCTION, layer=-1, dose_natural=0.0, seed=-1)
        for split in ("select", "test")
        for r in steered_rows(1, 1.0, 0.95, split=split)
    ]
    rows = sweep_rows() + held_out_rows(effect=0.85) + asked
    whole = find(finished(tmp_path / "whole", rows))
    assert asking_in_words(whole).startswith("Asking does better")
    lost = [
        replace(r, value=math.nan, kl_nats=math.nan, status=NOT_FINITE)
        if r.split == "test" and r.method == "mean_diff" and r.prompt < 20
        else r
        for r in rows
    ]
    found = find(finished(tmp_path / "some", lost))
    assert found.rivals[0].ahead.value == pytest.approx(
        57 / 60 - 51 / 60, abs=0.1
    )  # not as if they had failed
    assert asking_in_words(found).startswith("Asking is not told apart")
    assert "asking" not in verdict(found)
