"""Sentences that say no more than their numbers: on limits, of what is unknown, of a few among many."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from steerscope.judges.effects import Effect
from steerscope.report.plates import plates
from steerscope.report.sections import conditions, needed
from steerscope.runs.results import NOT_FINITE, Run
from steerscope.statistics import Estimate
from steerscope.studies.steering.drift import drift_table
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.layer_words import _never, layers_in_words
from steerscope.studies.steering.phrases import amount, digits_apart, prices
from steerscope.studies.steering.responses import needed_doses
from steerscope.studies.steering.verdict import Cost, NullRank, _nulls_missing, p_in_words
from steerscope.studies.steering.wording import slope_in_words, verdict
from steerscope.studies.steering.zones import zones_of
from tests.audits.recipes import clean, made
from tests.helpers import steered_rows
from tests.studies.test_drift import AT, SHARE, rows
from tests.studies.test_findings import FLIPPED, finished, held_out_rows, sweep_rows

NATS = Effect("preference", "nats", "log-odds of held-out pairs")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return find(finished(tmp_path_factory.mktemp("r") / "run", sweep_rows() + held_out_rows()))


def cost(worse, low, high, limit=0.05, *, read=60):
    """A cost of that size."""
    plain = Estimate(0.1, 0.0, 0.2, read)
    return Cost("topic", "topic lost", plain, plain, True, Estimate(worse, low, high, read), limit, 60, read, 1)  # fmt: skip


def test_a_small_effect_that_is_surely_there_is_not_denied(found):
    some = replace(found, gain=Estimate(0.06, 0.03, 0.09, 60))
    assert verdict(some).startswith(
        "No: microworld was not steered towards joyful by as much as is of interest: at the layer"
    )
    none = replace(found, gain=Estimate(0.0, -0.03, 0.03, 60))
    assert verdict(none).startswith("No: microworld was not steered towards joyful: at the layer")


def test_an_end_of_an_interval_is_not_printed_as_the_limit_that_it_misses(found):
    near = replace(found, gain=Estimate(0.05, 0.001, 0.0997, 60))
    assert "+5.00 points [+0.10, +9.97], below the smallest effect of interest, 10 points" in (
        verdict(near)
    )
    assert digits_apart([9.97, 1.0], 10.0, 1) == 2
    assert digits_apart([10.0, 1.0], 10.0, 1) == 1  # it is the limit
    assert digits_apart([9.9999999], 10.0, 1) == 4
    assert amount(NATS, Estimate(0.3, 0.1, 0.499, 9), apart=0.5) == "+0.300 nats [+0.100, +0.499]"
    assert amount(FLIPPED, Estimate(0.3, 0.1, 0.5, 9), difference=True) == (
        "+30.0 points [+10.0, +50.0]"
    )
    over = cost(0.03, 0.01, 0.0502)
    assert prices([over]) == "topic lost worse by 3.00 points [1.00, 5.02] (limit 5.0)"


def test_a_cost_that_is_unknown_or_better_on_the_mean_is_called_so():
    assert prices([cost(math.nan, math.nan, math.nan)]) == "topic lost unknown"
    assert prices([cost(0.0, -0.01, 0.01, read=20)]) == "topic lost unknown"  # of 60
    assert prices([cost(-0.02, -0.1, 0.08)]) == (
        "topic lost better by 2.0 points, and perhaps worse by up to 8.0 (limit 5.0)"
    )


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (251 / 5001, "p = 0.0502"),
        (0.050004, "p = 0.050004"),
        (0.04996, "p = 0.05"),
        (0.05, "p = 0.05"),
        (0.2, "p = 0.2"),
        (1 / 5001, "p <= 0.0002"),
        (math.nan, "p unknown"),
    ],
)
def test_a_p_is_not_printed_as_the_level_that_it_misses(p, said):
    assert p_in_words(p) == said


def test_of_the_choice_whose_p_is_unknown_nothing_is_asserted(found):
    unknown = replace(found, chosen=replace(found.chosen, p_corrected=math.nan))
    assert (
        "it is not known how often a sweep without any effect has a best condition this good"
        in (verdict(unknown))
    )


def test_how_many_nulls_do_as_well_is_said():
    rank = NullRank("random", 19, 0.7, 0.1, items=(60, 60), of=60)
    other = replace(rank, kind="covariance-matched random", p=0.05)
    own = "each at its own best layer and dose,"
    assert _nulls_missing((rank, other)) == [
        f"1 of 19 random directions, {own} does as well, p = 0.1"
    ]
    few = replace(rank, p=0.2)
    assert _nulls_missing((few, other)) == [f"3 of 19 random directions, {own} do as well, p = 0.2"]
    repeated = replace(rank, p=0.05, open=2, items=(8, 8), of=8)
    assert _nulls_missing((repeated, other)) == [
        f"2 of 19 random directions, {own} are not clearly behind on the first items, and were asked no further, "
        "p = 0.05"
    ]


def test_more_items_are_asked_for_than_there_were(found):
    wide = replace(found, gain=Estimate(0.2, -0.1, 0.5, 8), needed_items=7)
    assert (
        "over 8 distinct prompts does not tell the effect from the smallest of interest, which takes more"
        in (verdict(wide).replace("over 8 prompts", "over 8 distinct prompts"))
    )
    assert "which takes about 9" in verdict(replace(wide, needed_items=9))


def test_a_run_that_is_not_finished_states_nothing_that_it_did_not_choose(tmp_path):
    """Only a smaller dose of the layer that was chosen has held-out rows so far."""
    run = finished(tmp_path / "r", sweep_rows() + held_out_rows())
    chosen = find(run).chosen
    table = run.table()
    begun = Run.start(tmp_path / "begun", run.configuration, provenance={"fingerprint": "f"})
    early = sweep_rows() + [r for r in held_out_rows() if r.cell == "plain"]
    early += steered_rows(chosen.layer, 0.5, 0.0, split="test")
    begun.append(early)
    assert {chosen.cell} <= set(table.cell)
    unfinished = find(begun)
    assert unfinished.chosen.cell == chosen.cell
    assert unfinished.gain is None
    assert verdict(unfinished).startswith("A sweep of microworld: the choice below is not yet")


def test_a_limit_that_is_unknown_breaks_nothing(tmp_path):
    recipe = clean()
    recipe.change(
        lambda r: r.layer == 3 and r.metric == "kept_topic" and r.dose_natural > 0, value=math.nan
    )
    found = find(made(recipe, tmp_path))
    zoning = zones_of(found)
    assert 3 not in set(zoning.table.layer)
    assert "not known, since a cost at that dose is unknown, 3" in str(zoning)
    mine = found.summary[(found.summary.layer == 3) & (found.summary.dose_natural > 0)]
    assert mine.damage[mine.method == "mean_diff"].isna().all()
    assert "a limit is broken or unknown from (natural)" in needed(found)
    broken = clean()
    broken.change(
        lambda r: r.layer == 3 and r.metric == "kept_topic" and r.dose_natural > 0, value=0.0
    )
    broken.change(
        lambda r: r.layer == 3 and r.metric == "grammatical" and r.dose_natural > 0, value=math.nan
    )
    zone = zones_of(find(made(broken, tmp_path, "b"))).table.set_index("layer").zone
    assert zone[3] == "destructive"  # by the cost that is known


def test_a_layer_whose_larger_doses_break_nothing_needs_more_than_those(found):
    summary = pd.DataFrame(
        {
            "method": "mean_diff", "layer": [1, 1, 1, 2, 2, 2, 3, 3, 3], "dose_natural": [0.5, 1.0, 2.0] * 3,
            "effect": 0.1, "broken": [True, False, False, True, True, True, False, False, True],
        }
    )  # fmt: skip
    needs = needed_doses(summary, "mean_diff", 0.5).set_index("layer")
    assert needs.largest_whole.fillna(-1).to_dict() == {1: 2.0, 2: -1.0, 3: 1.0}
    rows = needed_doses(summary, "mean_diff", 0.5)
    reached = pd.DataFrame([{**rows.iloc[0], "layer": 0, "dose_natural": 1.0}])
    said = layers_in_words(replace(found, needed=pd.concat([reached, rows, rows[:0]])))
    assert "layer 3 not before 2, where a limit is broken or unknown" in said
    last = layers_in_words(replace(found, needed=pd.concat([reached, rows[:1]])))
    assert "layer 1 more than 2, the largest measured" in last
    gap = rows[:1].assign(largest_whole=1.0, first_broken=0.5)
    between = layers_in_words(replace(found, needed=pd.concat([reached, gap])))
    assert "layer 1 more than 1, the largest at which every limit is known and kept" in between


def test_a_change_of_every_text_has_an_interval():
    found = drift_table(rows(), SHARE, **AT).set_index("attribute")
    assert found.low["flipped"] < found.change["flipped"]


def test_captions_speak_of_the_controls_that_are_drawn(tmp_path):
    whole = finished(tmp_path / "r", sweep_rows() + held_out_rows())
    said = {plate.name: plate.caption for plate in plates(whole)}
    assert "the null is one random direction of that length a layer" in said["layer_sweep"]
    controls = ("random", "label_shuffled")
    without = [r for r in sweep_rows() + held_out_rows() if r.method not in controls]
    said = {p.name: p.caption for p in plates(finished(tmp_path / "none", without))}
    assert "no random directions were measured beside it" in said["layer_sweep"]
    assert "control" not in said["dose_response"]


def test_captions_count_what_is_known_and_say_where_no_null_is_drawn(tmp_path):
    measured = sweep_rows() + held_out_rows()
    for split, seed, layer in (("select", 2, 2), ("test", 7, 1)):
        lost = steered_rows(layer, 1.0, 0.1, method="random", seed=seed, split=split)
        measured += [replace(r, value=np.nan, kl_nats=np.nan, status=NOT_FINITE) for r in lost]
    found = plates(finished(tmp_path / "r", measured))
    said = {plate.name: plate.caption for plate in found}
    assert "at least 0" not in "".join(said.values())
    assert said["layer_sweep"].endswith(
        "the null is 2 random directions of that length a layer, averaged, its band from their lowest to their "
        "highest; none is drawn where nothing is known of one (layer 2)."
    )
    for name in ("dose_response", "dose_fan"):
        assert "; none is drawn where nothing is known of one (+1)." in said[name]
    assert "since logits of one random direction are not finite." in said["side_effects"]
    drawn = {p.name: {t.name for t in p.figure.data} for p in found}
    assert "random directions of that length" not in drawn["side_effects"]


def test_conditions_without_a_number_have_a_dash_and_several_layers_no_number(found):
    some = found.summary.assign(
        effect=np.nan,
        low=np.nan,
        high=np.nan,
        kl_nats=np.nan,
        layer=found.summary.layer.replace(0, -1),
    )
    page = conditions(replace(found, summary=some))
    assert "nan" not in page
    assert ">several<" in page
    assert ">-1<" not in page


def test_a_p_that_is_too_small_for_a_number_is_not_zero(found):
    steep = replace(found, slope=replace(found.slope, p=0.0))
    assert ", p < 1e-15; the response" in slope_in_words(steep)


def test_a_layer_whose_largest_dose_overflowed_is_not_said_to_break_a_limit():
    assert _never(4.0, 2.0, math.nan) == "more than 2, the largest at which the effect is known"
    assert _never(4.0, 4.0, math.nan) == "more than 4, the largest measured"
    assert _never(4.0, math.nan, math.nan) == "not known"
    assert _never(4.0, math.nan, 0.5) == "not before 0.5, where a limit is broken or unknown"
