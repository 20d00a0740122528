from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.judges.microworld import LIMITS
from steerscope.runs.distinct import NO_GROUPS, Groups
from steerscope.runs.results import COLUMNS, NOT_FINITE
from steerscope.studies.steering.choice import sweet_spot
from steerscope.studies.steering.responses import (
    dose_response,
    dose_slope,
    needed_doses,
    predict_layers,
    summarise,
)
from steerscope.studies.steering.stated import Stated
from tests.helpers import N_PROMPTS as N
from tests.helpers import plain_rows as plain
from tests.helpers import row
from tests.helpers import steered_rows as steered

FLIPPED = Effect("flipped", "share", "flipped", "joyful", "gloomy", LIMITS)


def table_of(rows):
    table = pd.DataFrame([{c: getattr(r, c) for c in COLUMNS} for r in rows], columns=list(COLUMNS))
    table.insert(0, "run", "r")
    return table


def test_a_summary_states_effect_cost_and_what_is_over_the_limit():
    table = table_of(plain() + steered(3, 1.0, 0.8) + steered(3, 2.0, 1.0, topic=0.6))
    found = summarise(table, FLIPPED, "select").set_index("dose_natural")
    assert found.loc[1.0, "effect"] == 0.8
    assert found.loc[1.0, "low"] < 0.8 < found.loc[1.0, "high"]
    assert found.loc[1.0, "cost_kept_topic"] == 0.0
    assert not found.loc[1.0, "broken"]
    assert found.loc[2.0, "cost_kept_topic"] == pytest.approx(0.4)
    assert found.loc[2.0, "over"] == "kept_topic"


def test_the_sweet_spot_is_the_best_that_breaks_nothing():
    rows = plain() + steered(3, 1.0, 0.8) + steered(3, 2.0, 1.0, topic=0.6) + steered(5, 1.0, 0.3)
    found = sweet_spot(table_of(rows + steered(3, -1.0, 0.9)), FLIPPED, "mean_diff")
    assert (found.layer, found.dose_natural, found.broken) == (3, 1.0, False)
    assert found.effect.value == 0.8
    assert found.n_cells == 3  # negative doses are no candidates
    assert found.p_corrected < 0.01


def test_of_equally_good_conditions_the_cheapest_is_taken():
    rows = plain() + steered(2, 1.0, 0.8, kl=0.5) + steered(3, 1.0, 0.8, kl=0.2)
    assert sweet_spot(table_of(rows), FLIPPED, "mean_diff").layer == 3


def test_where_everything_breaks_the_choice_says_so():
    found = sweet_spot(table_of(plain() + steered(3, 1.0, 0.9, topic=0.2)), FLIPPED, "mean_diff")
    assert found.broken


@pytest.mark.parametrize("tried", [None, 9])
def test_of_one_distinct_item_it_is_not_known_how_likely_the_choice_is(tried):
    table = table_of(plain() + steered(3, 1.0, 0.8) + steered(5, 1.0, 0.3))
    one = Groups({"select": {"prompts": dict.fromkeys(map(int, table.prompt), 0)}})
    assert math.isnan(sweet_spot(table, FLIPPED, "mean_diff", groups=one, tried=tried).p_corrected)


def test_nothing_to_find_gives_a_large_corrected_p():
    rows = plain() + steered(2, 1.0, 1 / 60) + steered(3, 1.0, 0.0)
    # One prompt of 60 flips: its weight is the large one with probability (1 - 1 / √5) / 2.
    found = sweet_spot(table_of(rows), FLIPPED, "mean_diff")
    assert found.p_corrected == pytest.approx((1 - 5**-0.5) / 2, abs=0.02)


def test_a_shift_in_nats_is_read_from_plain_along_the_dose():
    rows = []
    for cell, dose, at in (("plain", 0.0, 1.0), ("up", 1.0, 3.0), ("down", -1.0, -4.0)):
        rows += [
            row(cell=cell, method="mean_diff", layer=2, dose_natural=dose, metric="preference",
                unit="nats", prompt=p, value=at + p)
            for p in range(N)
        ]  # fmt: skip
    found = summarise(table_of(rows), PREFERENCE, "select").set_index("dose_natural")
    assert found.loc[1.0, "effect"] == pytest.approx(2.0)
    assert found.loc[-1.0, "effect"] == pytest.approx(5.0)


def test_dose_response_averages_the_seeds_of_a_control():
    rows = plain("test") + steered(3, 1.0, 0.8, split="test")
    for seed, share in ((0, 0.1), (1, 0.3)):
        rows += steered(3, 1.0, share, method="random", seed=seed, split="test")
    rows += steered(4, 1.0, 1.0, split="test")
    found = dose_response(
        table_of(rows), FLIPPED, split="test", layer=3, methods=("mean_diff", "random")
    ).set_index("method")
    assert found.loc["random", ["effect", "lowest_seed", "highest_seed", "n_seeds"]].tolist() == [
        pytest.approx(0.2), 0.1, 0.3, 2,
    ]  # fmt: skip
    assert found.loc["mean_diff", "effect"] == 0.8


def overflowing(rows, *, last=5):
    """The same rows, of which the logits of the last prompts are not finite."""
    return [
        replace(r, value=math.nan, kl_nats=math.nan, status=NOT_FINITE) if r.prompt >= N - last else r
        for r in rows
    ]  # fmt: skip


@pytest.mark.parametrize("last", [5, N])
def test_of_random_directions_of_which_one_overflowed_nothing_is_known_together(last):
    rows = plain("test") + steered(3, 1.0, 0.8, split="test")
    for seed, share in ((0, 0.1), (1, 0.3), (2, 0.2)):
        rows += steered(3, 1.0, share, method="random", seed=seed, split="test")
    lost = steered(3, 1.0, 0.9, method="random", seed=3, split="test")
    rows += overflowing(lost, last=last)
    found = dose_response(
        table_of(rows), FLIPPED, split="test", layer=3, methods=("mean_diff", "random")
    ).set_index("method")
    numbers = ["effect", "low", "high", "lowest_seed", "highest_seed"]
    assert found.loc["random", numbers].isna().all()
    assert found.loc["random", ["n_seeds", "n_lost", "n", "plain"]].tolist() == [3, 1, 0, 0.0]
    assert found.loc["mean_diff", ["effect", "n_seeds", "n_lost"]].tolist() == [0.8, 1, 0]
    summary = summarise(table_of(rows), FLIPPED, "test").set_index(["method", "seed"])
    assert summary[["effect", "kl_nats"]].isna().all(axis=1).tolist() == [False] * 4 + [True]
    stated = Stated(table_of(rows), FLIPPED, "test", NO_GROUPS)
    chosen, *nulls = summary.cell
    assert stated.over(chosen, nulls[:-1]).value == pytest.approx(0.6)
    assert stated.over(chosen, nulls) is None


def test_needed_doses_interpolate_from_zero_and_say_never():
    rows = plain() + steered(1, 1.0, 0.25) + steered(1, 2.0, 0.75) + steered(2, 1.0, 1.0)
    rows += steered(3, 1.0, 0.1) + steered(3, 2.0, 0.2)
    summary = summarise(table_of(rows), FLIPPED, "select")
    found = needed_doses(summary, "mean_diff", 0.5).set_index("layer")
    assert found.dose_natural[1] == pytest.approx(1.5)
    assert found.dose_natural[2] == pytest.approx(0.5)
    assert math.isnan(found.dose_natural[3])
    assert found.largest_effect[3] == pytest.approx(0.2)


def test_a_dose_that_breaks_a_limit_is_no_needed_dose():
    rows = plain() + steered(1, 1.0, 0.25) + steered(1, 2.0, 0.75) + steered(1, 4.0, 0.6)
    summary = summarise(table_of(rows), FLIPPED, "select")
    broken = summary.assign(broken=summary.dose_natural == 2.0)
    found = needed_doses(broken, "mean_diff", 0.5).iloc[0]
    assert found.dose_natural == 4.0  # nothing is interpolated across what broke
    assert (found.first_broken, found.largest_effect) == (2.0, pytest.approx(0.6))
    every = needed_doses(summary.assign(broken=True), "mean_diff", 0.5).iloc[0]
    assert math.isnan(every.dose_natural)
    assert math.isnan(every.largest_effect)
    # Dose 0 is the plain model, whatever it does: from 5 % at 0 to 25 % at 1, 15 % lie half way.
    half = needed_doses(summary, "mean_diff", 0.15, plain=0.05).iloc[0]
    assert half.dose_natural == pytest.approx(0.5)


def test_each_sign_of_a_dose_has_the_plain_share_of_its_own_prompts():
    rows = [replace(r, value=float(r.prompt < 3)) for r in plain("test")]
    rows += [r for r in steered(3, 1.0, 0.8, split="test") if r.prompt < N // 2]
    rows += [r for r in steered(3, -1.0, 0.6, split="test") if r.prompt >= N // 2]
    found = dose_response(
        table_of(rows), FLIPPED, split="test", layer=3, methods=("mean_diff",)
    ).set_index("dose_natural")
    assert found.plain.to_dict() == {-1.0: 0.0, 1.0: pytest.approx(3 / (N // 2))}


def test_a_predictor_is_a_signed_rank_correlation_over_shared_layers():
    found = predict_layers(
        "gap", {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4, 9: 0.0}, {0: 4.0, 1: 3.0, 2: 2.0, 3: 1.0}
    )
    assert found.correlation.rho == pytest.approx(-1.0)
    assert found.correlation.n == 4
    assert found.correlation.p == pytest.approx(2 / 24)


def test_the_slope_of_a_share_is_that_of_the_prompts_that_are_pushed_one_way():
    """Negative doses are measured on the prompts of the other class, which have no positive dose."""
    one_way = plain() + [r for dose in (1.0, 2.0, 3.0) for r in steered(3, dose, 0.3 * dose)]
    other = [replace(r, prompt=r.prompt + N) for r in plain() + steered(3, -2.0, 0.9)]
    alone, both = (
        dose_slope(table_of(rows), FLIPPED, split="select", layer=3, method="mean_diff")
        for rows in (one_way, one_way + other)
    )
    assert alone.slope.n == N
    assert alone.slope.low < 0.3 < alone.slope.high
    assert both == alone


def test_where_no_condition_within_the_limits_is_above_plain_the_one_whose_texts_count_most_is_chosen():
    """Plain texts flip in 10 %; dose 1 does no more, dose 2 flips half, dose 4 all and keeps no topic."""
    rows = [replace(r, value=float(r.metric == "kept_topic" or r.prompt < 6)) for r in plain()]
    rows += (
        steered(3, 1.0, 0.1) + steered(3, 2.0, 0.5, topic=0.85) + steered(3, 4.0, 1.0, topic=0.1)
    )
    found = summarise(table_of(rows), FLIPPED, "select").set_index("dose_natural")
    assert found.counts.tolist() == pytest.approx([0.0, 0.4, 0.0])
    assert found.joint.tolist() == pytest.approx([0.1, 0.5, 0.1])
    assert found.broken.tolist() == [False, True, True]
    chosen = sweet_spot(table_of(rows), FLIPPED, "mean_diff")
    assert (chosen.dose_natural, chosen.broken) == (2.0, True)


def test_a_race_of_log_odds_counts_the_prompts_that_a_condition_wrote_to():
    rows = []
    for cell, dose, n in (("plain", 0.0, 8), ("up", 1.0, 8), ("behind", 2.0, 3)):
        same = {"cell": cell, "method": "mean_diff", "layer": 2, "dose_natural": dose}
        rows += [
            row(**same, metric="preference", unit="nats", prompt=p, value=dose) for p in range(6)
        ]
        rows += [row(**same, metric="degenerate", prompt=p) for p in range(n)]
    found = summarise(table_of(rows), PREFERENCE, "select").set_index("cell")
    assert found.asked.to_dict() == {"up": 8, "behind": 3}
    assert sweet_spot(table_of(rows), PREFERENCE, "mean_diff").dose_natural == 1.0


def test_what_was_stated_is_not_chosen_again_by_another_rule():
    """Without the best layer a cheaper dose of the stated one comes within 2 % of what is left."""
    rows = plain() + steered(5, 3.0, 0.9, topic=1.0, kl=0.5)
    rows += steered(6, 3.0, 0.885, kl=0.3) + steered(6, 2.5, 0.87, kl=0.2)
    table = table_of(rows)
    among = ["mean_diff 6 3.0 -1", "mean_diff 6 2.5 -1"]
    own = sweet_spot(table, FLIPPED, "mean_diff")
    assert sweet_spot(table, FLIPPED, "mean_diff", stated=[own.cell, *among]).cell == own.cell
    assert sweet_spot(table, FLIPPED, "mean_diff", stated=among[:1]).cell == among[0]
