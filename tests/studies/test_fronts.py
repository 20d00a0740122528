"""Fronts of weight edits: the table by hand, the choice, domination, the words."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from steerscope.errors import RunError
from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.judges.microworld import LIMITS
from steerscope.report import plates
from steerscope.runs.results import NOT_FINITE, Run
from steerscope.statistics import Estimate
from steerscope.studies.weights.findings import (
    CAPABILITY,
    CONTROL,
    EDIT,
    KL,
    NATS,
    ROLES,
    STEERING,
    TOKENS,
    Limits,
    TooCostly,
    choose,
    front_table,
    leaning,
    lost_edits,
    on_front,
    read_roles,
    stand,
    standings_of,
    too_costly,
    unknown_targets,
)
from steerscope.studies.weights.wording import front_in_words
from tests.helpers import row

FLIPPED = Effect("flipped", "share", "stories flipped", "joyful", "gloomy", limits=LIMITS)
N = 40


def cell_rows(cell, flips, *, capability=1.0, nats=10.0, kl=0.1, method="power", split="test"):
    """Prompts 0..19 can go to joyful and 20..39 to gloomy; `flips` are the shares that do."""
    label = {"cell": cell, "method": method, "layer": 3, "kl_nats": kl, "split": split}
    found = []
    for p in range(N):
        target, share = ("joyful", flips[0]) if p < N // 2 else ("gloomy", flips[1])
        gone = float(p % (N // 2) < round(share * N / 2))
        for metric, value in (
            (f"to_{target}", gone),
            (CAPABILITY, capability),
            ("degenerate", 0.0),
        ):
            found.append(row(**label, prompt=p, metric=metric, value=value))
    for text, tokens in enumerate((4.0, 6.0)):
        found.append(row(**label, prompt=text, metric=TOKENS, value=tokens))
        found.append(row(**label, prompt=text, metric=NATS, value=nats * (text + 1) / 3))
    return found


def as_table(rows):
    return pd.DataFrame([vars(r) for r in rows])


@pytest.fixture
def table():
    return as_table(
        cell_rows("plain", (0.1, 0.1), method="plain")
        + cell_rows("edit=a", (0.9, 0.1), nats=11.0, capability=0.9)
        + cell_rows("edit=b", (0.2, 0.2), method="noise of power", nats=12.0)
        + cell_rows("steered", (0.6, 0.1), method="mean_diff")
    )


def test_effect_capability_and_perplexity_by_hand(table):
    rows = front_table(table, FLIPPED, "test").set_index(["cell", "target"])
    a = rows.loc["edit=a", "joyful"]
    assert a.effect == pytest.approx(0.8)
    assert a.n == 20
    assert a.capability_change == pytest.approx(-0.1)
    assert a.perplexity_ratio == pytest.approx(np.exp((11 - 10) / 10))  # 10 tokens
    assert a.kl_nats == pytest.approx(0.1)
    assert rows.loc["edit=a", "gloomy"].effect == pytest.approx(0)
    assert a.p_corrected < 0.01 < rows.loc["edit=b", "joyful"].p_corrected


def test_a_damaged_text_has_gone_over_to_neither_side():
    def rows(cell, shown, damaged):
        return [
            row(cell=cell, method=cell, metric=metric, prompt=p, value=value, split="test")
            for p in range(4)
            for metric, value in (
                ("shown", float(p < shown)), ("to_joy", float(p < shown)),
                ("to_the opposite of joy", float(p >= shown)), ("degenerate", float(p in damaged)),
                ("nll_plain", 2.0 + 0.1 * p), (NATS, 3.0), (TOKENS, 3.0),
            )
        ]  # fmt: skip

    table = as_table(rows("plain", 1, ()) + rows("edit=a", 3, (1, 3)))
    effect = Effect.of_scores("joy", "some judge")
    counted = front_table(table, effect, "test").set_index("target").effect
    assert counted.to_dict() == {"joy": 0.5, "the opposite of joy": -0.5}
    # Of four texts two show joy undamaged and none the opposite; before one and three did.
    counted = front_table(table, effect.undamaged, "test").set_index("target").effect
    assert counted.to_dict() == {"joy": 0.25, "the opposite of joy": -0.75}
    # Of one plain text that can be read nothing is told from damage, and nothing is known.
    known = table.metric.ne("nll_plain") | table.prompt.eq(0)
    assert front_table(table[known], effect.undamaged, "test").empty
    assert len(front_table(table[known], effect, "test")) == 2


def test_a_preference_counts_against_its_target():
    rows = [
        row(cell=cell, method=cell, metric=metric, prompt=p, value=value, split="test")
        for cell, shift in (("plain", 0.0), ("edit=a", 2.0))
        for p in range(4)
        for metric, value in (
            ("preference", p + shift), (CAPABILITY, 1.0), ("degenerate", 0.0), (NATS, 3.0),
            (TOKENS, 3.0),
        )
    ]  # fmt: skip
    found = front_table(as_table(rows), PREFERENCE, "test").set_index("target").effect
    assert found.to_dict() == {"positive": 2.0, "negative": -2.0}


def test_the_front_is_what_nothing_else_beats_in_all_three():
    rows = pd.DataFrame(
        [
            (0.9, 0.0, 2.0),  # most effect
            (0.5, 0.0, 1.0),  # cheapest in perplexity
            (0.5, 0.1, 1.5),  # most capable
            (0.4, 0.0, 1.0),  # beaten by the second
            (0.9, -0.1, 2.0),  # beaten by the first
            (0.5, 0.0, 1.0),  # as good as the second, so not beaten
        ],
        columns=["effect", "capability_change", "perplexity_ratio"],
    )
    assert on_front(rows).tolist() == [True, True, True, False, False, True]


def test_what_costs_no_kl_or_leads_away_is_never_chosen(table):
    rows = front_table(table, FLIPPED, "test")
    limits = Limits(0.2, 1.3, least_kl=0.01)
    assert set(choose(rows, limits).cell) == {"edit=a", "edit=b", "steered"}
    rows.loc[rows.cell == "edit=a", "kl_nats"] = 0.009
    rows.loc[rows.cell == "edit=b", "effect"] = -0.1
    assert set(choose(rows, limits).cell) == {"steered"}


def test_a_shortlist_holds_the_best_few_of_each_method(table):
    rows = front_table(table, FLIPPED, "test")
    more = pd.concat([rows, *(rows.assign(cell=f"{i}", effect=i / 10) for i in (1, 2, 3))])
    found = choose(more.assign(method="power"), Limits(1, 9), count=2)
    best = more[more.effect > 0].sort_values("effect").groupby("target").effect.apply(list)
    for target, mine in found.groupby("target").effect:
        assert mine.tolist() == best[target][:-3:-1]


def test_the_kl_of_a_target_is_that_of_the_prompts_that_can_go_there(table):
    here = (table.cell == "edit=a") & (table.prompt >= N // 2)
    table.loc[here, "kl_nats"] = 0.3
    rows = front_table(table, FLIPPED, "test").set_index(["cell", "target"]).kl_nats
    assert rows.loc["edit=a", "joyful"] == pytest.approx(0.1)
    assert rows.loc["edit=a", "gloomy"] == pytest.approx(0.3)


def test_a_screen_is_read_towards_both_targets_without_capability():
    rows = []
    for cell, shifts in (("plain", (0.0, 0.0)), ("edit=a", (2.0, -1.0))):
        label = {"cell": cell, "method": cell, "split": "select", "kl_nats": 0.2}
        for p in range(4):
            rows += [
                row(**label, prompt=p, metric=metric, value=value)
                for metric, value in (
                    ("leaning_joyful", p + shifts[0]), ("leaning_gloomy", p + shifts[1]),
                    ("kl", 0.2), (NATS, 3.0), (TOKENS, 3.0),
                )
            ]  # fmt: skip
    found = front_table(as_table(rows), leaning(FLIPPED), "select").set_index("target")
    assert found.effect.to_dict() == {"joyful": 2.0, "gloomy": -1.0}
    assert found.capability_change.isna().all()
    assert found.kl_nats.tolist() == pytest.approx([0.2, 0.2])
    assert choose(found.reset_index(), Limits()).target.tolist() == ["joyful"]


def test_only_what_stays_within_the_limits_is_chosen(table):
    rows = front_table(table, FLIPPED, "test")
    chosen = choose(rows, Limits(capability=0.05, perplexity=1.3))
    joyful = chosen[chosen.target == "joyful"]
    assert joyful.cell.tolist() == ["steered", "edit=b"]
    assert "edit=a" in choose(rows, Limits(0.1001, 1.3)).cell.tolist()


def roles():
    return pd.DataFrame(
        [
            ("edit=a", "joyful", EDIT),
            ("edit=b", "joyful", CONTROL),
            ("steered", "joyful", STEERING),
        ],
        columns=["cell", "target", "role"],
    )


def test_the_verdict_names_winners_and_losers_with_their_numbers(table):
    rows = front_table(table, FLIPPED, "test")
    found = stand(table, FLIPPED, rows, roles(), "joyful")
    assert found.over_control.value == pytest.approx(0.7)
    assert found.over_steering.value == pytest.approx(0.3)
    assert found.p_controls < 0.01
    line, other = front_in_words([found], FLIPPED)
    assert (
        other
        == "towards gloomy: no edit that moves the model by at least 0.01 nats leads there within the limits."
    )
    assert line.startswith("towards joyful: a leads there, by +80.0 points [")
    assert "at 0.100 nats [0.100, 0.100] (capability -10.0 points, perplexity x1.11)" in line
    assert ", and +0.0 points [-" in line
    assert "beats every control" in line
    assert "ahead of the mean difference at layer 3" in line
    assert "points [" in line.partition("perplexity x1.00): ")[2]
    assert "not at one KL" not in line
    table.loc[(table.cell == "edit=a") & (table.metric == "to_joyful"), "value"] = 0.0
    rows = front_table(table, FLIPPED, "test")
    line, _ = front_in_words([stand(table, FLIPPED, rows, roles(), "joyful")], FLIPPED)
    assert line.startswith("towards joyful: a is not shown to lead there: -10.0 points [")
    assert "is not shown to beat its controls" in line
    assert "behind" in line


def test_an_edit_that_was_searched_for_is_said_to_be_and_its_controls_not(table):
    screened = [
        row(
            cell=f"edit={i}",
            method="power",
            operator="weights",
            split="select",
            prompt=p,
            metric=metric,
            value=1.0,
        )
        for i in range(72)
        for p in range(2)
        for metric in ("leaning_joyful", "leaning_gloomy")
    ]
    whole = pd.concat([table, as_table(screened)], ignore_index=True)
    rows = front_table(table, FLIPPED, "test")
    alone, found = (stand(t, FLIPPED, rows, roles(), "joyful") for t in (table, whole))
    assert (alone.n_tried, found.n_tried, found.n_controls) == (0, 72, 1)
    line, _ = front_in_words([found], FLIPPED)
    assert "but it was chosen among 72 edits and the control was not" in line
    assert (
        "a search among as many changes at random may be ahead of them too; it is ahead of the mean"
        in line
    )
    assert "was chosen among" not in front_in_words([alone], FLIPPED)[0]


def test_two_targets_give_two_chances_of_being_ahead_of_the_controls():
    """Six items that all tell the edit from its control: 1/64, and 2/64 for two targets."""
    shown = [
        row(cell=cell, method=cell, prompt=p, metric=metric, split="test", value=value, kl_nats=0.1)
        for cell, value in (("plain", 0.0), ("edit=a", 1.0), ("edit=b", 0.0))
        for p in range(6)
        for metric in ("to_joyful", "to_gloomy", "kl")
    ]
    costs = [
        row(cell=cell, method=cell, prompt=0, metric=metric, split="test", value=3.0, kl_nats=0.1)
        for cell in ("plain", "edit=a", "edit=b")
        for metric in (NATS, TOKENS)
    ]
    table = as_table([*shown, *costs])
    rows = front_table(table, FLIPPED, "test")
    both, one = (
        stand(table, FLIPPED, part, roles(), "joyful")
        for part in (rows, rows[rows.target == "joyful"])
    )
    assert one.p_controls == pytest.approx(1 / 64, rel=0.15)  # by random flips
    assert both.p_controls == pytest.approx(2 * one.p_controls)


def test_two_prompts_lead_nowhere_and_what_is_not_told_apart_is_not_level(table):
    few = table[table.prompt.isin([2, 3, 22, 23]) | table.metric.isin([TOKENS, NATS])]
    rows = front_table(few, FLIPPED, "test")
    [line] = front_in_words([stand(few, FLIPPED, rows, roles(), "joyful")], FLIPPED)[:1]
    assert "is not shown to lead there: +100.0 points [-100.0, +100.0]" in line
    assert ", n = 2" in line
    rows = front_table(table, FLIPPED, "test")
    found = stand(table, FLIPPED, rows, roles(), "joyful")
    few = replace(found, over_steering=Estimate(1.0, 1.0, 1.0, 4))
    assert "it is not told from the mean difference" in front_in_words([few], FLIPPED)[0]
    near = replace(found, over_steering=Estimate(0.05, -0.2, 0.3, 10))
    [line] = front_in_words([near], FLIPPED)[:1]
    assert "it is not told from the mean difference" in line


def test_the_verdict_says_where_steering_has_another_kl(table):
    table.loc[table.cell == "steered", "kl_nats"] = 0.05
    rows = front_table(table, FLIPPED, "test")
    line, _ = front_in_words([stand(table, FLIPPED, rows, roles(), "joyful")], FLIPPED)
    assert "at 0.050 nats" in line
    assert line.endswith("but not at one KL: it was matched on the select split and differs here.")


def test_a_sweep_of_which_nothing_may_be_chosen_says_so():
    for line, target in zip(front_in_words([], FLIPPED), ("joyful", "gloomy"), strict=True):
        assert (
            line
            == f"towards {target}: no edit that moves the model by at least 0.01 nats leads there within the limits."
        )


def test_edits_whose_logits_are_not_finite_are_said_where_none_is_chosen_and_only_where_there_are_some():
    limits = Limits(least_kl=0.05)
    [line, _] = front_in_words([], FLIPPED, limits=limits, n_lost=2)
    assert line == (
        "towards joyful: no edit that moves the model by at least 0.05 nats leads there within the limits; of 2 more "
        "nothing is known, since their logits are not finite."
    )
    costly = {"joyful": TooCostly(2, 5)}
    [line, _] = front_in_words([], FLIPPED, too_costly=costly, limits=limits, n_lost=2)
    assert "; of 2 more nothing is known, since their logits are not finite." in line
    rows = [
        *cell_rows("edit=a", (0.9, 0.1), split="select"),
        *without_numbers(cell_rows("edit=b", (0.9, 0.1), split="select")),
        *without_numbers(cell_rows("edit=c", (0.9, 0.1))),
    ]
    assert lost_edits(pd.DataFrame(rows).assign(operator="weights")) == 1


def test_edits_whose_capability_was_not_measured_are_not_said_to_be_outside_the_limits():
    none = front_in_words([], FLIPPED, too_costly={"joyful": TooCostly(2, 5)})
    assert none[0] == (
        "towards joyful: none is chosen; of 5 edits that lead there by the screen the 2 whose capability was measured are "
        "outside the limits, and of the others it is not known."
    )
    assert (
        none[1]
        == "towards gloomy: no edit that moves the model by at least 0.01 nats leads there within the limits."
    )
    rows = pd.DataFrame(
        {
            "cell": ["edit=a", "edit=b", "edit=c", "edit=d", "steered"], "target": "joyful", "effect": [3.0, 2.0, 1.0, -1.0, 5.0],
            "capability_change": [-0.3, math.nan, math.nan, math.nan, math.nan],
            "perplexity_ratio": 1.0, "kl_nats": 0.1, "operator": ["weights"] * 4 + ["add"],
        }
    )  # fmt: skip
    assert too_costly(rows, Limits()) == {"joyful": TooCostly(1, 3)}
    measured = rows.assign(capability_change=-0.3)
    assert too_costly(measured, Limits()) == {}  # of all of them it is known


def test_a_sweep_that_has_not_ended_says_so(tmp_path):
    run = Run.start(tmp_path / "run", {"effect": asdict(FLIPPED)}, provenance={})
    with pytest.raises(RunError, match="let the sweep"):
        read_roles(run)
    (run.path / "roles.json").write_text(json.dumps(roles().to_dict("records")))
    run.append(cell_rows("plain", (0.1, 0.1), method="plain"))
    for name, flips in (("edit=a", (0.9, 0)), ("edit=b", (0.2, 0)), ("steered", (0.6, 0))):
        run.append(cell_rows(name, flips))
    rows = front_table(run.table(), FLIPPED, "test")
    (standing,) = standings_of(run, rows)
    assert standing.edit.cell == "edit=a"


def without_numbers(rows):
    return [replace(r, value=math.nan, kl_nats=math.nan, status=NOT_FINITE) for r in rows]


def test_what_overflowed_beside_an_edit_is_named_and_not_counted_as_beaten():
    rows = [
        *cell_rows("plain", (0.1, 0.1), method="plain"),
        *cell_rows("edit=a", (0.9, 0.1)),
        *cell_rows("edit=b", (0.2, 0.2), method="noise of power"),
        *without_numbers(cell_rows("edit=c", (0.8, 0.1), method="gain")),
        *without_numbers(cell_rows("steered", (0.6, 0.1), method="mean_diff")),
    ]
    table, more = as_table(rows), pd.DataFrame([["edit=c", "joyful", CONTROL]])
    known = pd.concat([roles(), more.set_axis(roles().columns, axis=1)])
    found = stand(table, FLIPPED, front_table(table, FLIPPED, "test"), known, "joyful")
    assert (found.lost_controls, found.lost_steering) == (1, True)
    line, _ = front_in_words([found], FLIPPED)
    assert "it beats every control but one whose logits are not finite (largest p" in line
    assert line.endswith(
        "; of the steering at its KL nothing is known, since its logits are not finite."
    )
    table.loc[(table.cell == "edit=a") & (table.metric == "to_joyful"), "value"] = 0.0
    rows = front_table(table, FLIPPED, "test")
    line, _ = front_in_words([stand(table, FLIPPED, rows, known, "joyful")], FLIPPED)
    assert "it is not shown to beat its controls" in line
    assert "not finite" in line.rpartition("of the steering")[2]


@pytest.mark.parametrize("lost", ["edit=a", "edit=b"])
def test_an_edit_whose_logits_overflow_is_not_known_and_has_no_place_in_the_table(lost, tmp_path):
    rows = [
        *cell_rows("plain", (0.1, 0.1), method="plain"),
        *cell_rows("edit=a", (0.9, 0.1)),
        *cell_rows("edit=b", (0.2, 0.2), method="noise of power"),
        *cell_rows("edit=c", (0.8, 0.1)),
    ]
    rows = [r for row in rows for r in (without_numbers([row]) if row.cell == lost else [row])]
    run = Run.start(tmp_path / "run", {"effect": asdict(FLIPPED)}, provenance={})
    run.append(rows)
    roles = {"edit=a": EDIT, "edit=b": CONTROL}
    said = [{"cell": cell, "target": "joyful", "role": role} for cell, role in roles.items()]
    (run.path / ROLES).write_text(json.dumps(said))
    found = front_table(run.table(), FLIPPED, "test")
    assert set(found.cell) == {"edit=a", "edit=b", "edit=c"} - {lost}
    assert found[["effect", "p_corrected", "perplexity_ratio"]].notna().all(axis=None)
    assert standings_of(run, found) == []
    first, second = front_in_words([], FLIPPED, unknown_targets(run, found))
    assert first.startswith("towards joyful: not known; the logits of the chosen edit")
    assert (
        second
        == "towards gloomy: no edit that moves the model by at least 0.01 nats leads there within the limits."
    )


def swept(path, rows):
    """A sweep of edits that has screened these rows and stated none."""
    limits = asdict(Limits())
    told = {"kind": "WeightSweepPlan", "effect": asdict(FLIPPED), "limits": limits}
    run = Run.start(path, told, provenance={})
    run.append(rows + cell_rows("plain", (0.1, 0.1), method="plain"))
    return run


def screening(cell, shift, *, kl=0.1, method="power"):
    label = {"cell": cell, "method": method, "split": "select", "kl_nats": kl}
    label |= {"operator": "" if cell == "plain" else "weights"}
    return [
        row(**label, prompt=p, metric=metric, value=value)
        for metric, value in (
            ("leaning_joyful", shift),
            ("leaning_gloomy", shift),
            (KL, kl),
            (NATS, 9.0),
            (TOKENS, 4.0),
        )
        for p in range(9)
    ]


def test_a_sweep_whose_every_edit_overflowed_has_no_front(tmp_path):
    plain = screening("plain", 0.0, kl=0.0, method="plain")
    lost = without_numbers(screening("edit=a", 1.0))
    assert plates(swept(tmp_path / "run", plain + lost)) == []
    [drawn] = plates(swept(tmp_path / "other", plain + lost + screening("edit=b", 1.0)))
    assert drawn.name == "pareto_select"
    assert "drawn there" not in drawn.caption


def test_a_front_says_how_many_points_lie_left_of_its_axis(tmp_path):
    rows = screening("plain", 0.0, kl=0.0, method="plain") + screening("edit=b", 1.0, kl=3e-5)
    [drawn] = plates(swept(tmp_path / "run", rows))
    assert drawn.caption.endswith("2 points lie below 0.001 nats and are drawn there.")


def test_a_capability_that_was_not_measured_is_said_not_to_be(table):
    blind = table[table.metric != CAPABILITY]
    rows = front_table(blind, FLIPPED, "test")
    line, _ = front_in_words([stand(blind, FLIPPED, rows, roles(), "joyful")], FLIPPED)
    assert "(capability not measured, perplexity x" in line
    assert "nan" not in line
