"""What a run may not conclude: a No without room for an effect, a correction among what a race kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steerscope.statistics import Estimate
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.plan import StudyPlan
from steerscope.studies.steering.wording import answer, verdict
from steerscope.studies.steering.zones import no_zones_in_words, zones_of
from tests.studies.test_findings import card, finished, held_out_rows, judged, sweep_rows


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
