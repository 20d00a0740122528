"""Races over layers and doses: what is measured how often, what wins, and what its p is worth."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from random import Random

import pandas as pd
import pytest

from steerscope.audits import audit
from steerscope.engine.generation import attempt
from steerscope.judges.effects import KL_WRITTEN
from steerscope.report.why import why_here
from steerscope.runs.distinct import NO_GROUPS, groups_of
from steerscope.runs.results import NOT_FINITE, Run, as_table
from steerscope.studies.steering.choice import corrected_p, sweet_spot
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.layer_words import layers_in_words
from steerscope.studies.steering.measure import run_study
from steerscope.studies.steering.null_words import nulls_in_words
from steerscope.studies.steering.nulls import (
    NULL,
    SCREEN,
    numbers_of_few,
    still_near,
)
from steerscope.studies.steering.plan import GRID, RACE, StudyPlan, plan_of
from steerscope.studies.steering.search import (
    Round,
    coarse,
    neighbours,
    race,
    resolved,
    rounds_of,
    scores_of_round,
    texts_of_race,
)
from steerscope.studies.steering.texts import load_texts, most_texts
from steerscope.studies.steering.wording import conditions_in_words
from steerscope.texts.contrasts import load_contrasts
from tests.helpers import plain_rows, steered_rows
from tests.studies.test_findings import FLIPPED
from tests.studies.test_nulls_of_a_race import named

DOSES = (0.5, 1.0, 2.0, 2.5, 3.0, 4.0)


def run(truth, n_layers, n_prompts, noise=0.0, seed=0):
    """A race over planted mean scores: the finalists, and the prompts of every condition."""
    rng, measured, draws = Random(seed), {}, {}

    def measure(running, first):
        for at in running:
            mine = draws.setdefault(at, [])
            mine += [truth(*at) + rng.gauss(0, noise) for _ in range(first - len(mine))]
            measured[at] = max(first, measured.get(at, 0))

    def scores(first):
        return {at: (sum(mine[:first]) / len(mine[:first]),) for at, mine in draws.items()}

    rounds = rounds_of(n_layers, len(DOSES), n_prompts)
    last = race(range(n_layers), DOSES, 2.0, rounds, measure, scores)
    return last, measured


def test_every_layer_starts_and_the_last_are_measured_on_all_prompts():
    last, measured = run(lambda layer, dose: -abs(layer - 7) - abs(dose - 2.5), 12, 120)
    assert {layer for layer, _ in measured} == set(range(12))
    assert (7, 2.5) in last
    assert all(measured[at] == 120 for at in last)
    assert all((layer, 2.0) in measured for layer in range(12))
    assert sum(measured.values()) < 12 * len(DOSES) * 120 / 5


def test_texts_are_counted_as_they_are_written():
    for n_layers, n_prompts in ((30, 120), (8, 60), (3, 24), (2, 8), (1, 5)):
        _, measured = run(lambda layer, dose: layer + dose, n_layers, n_prompts)
        planned = texts_of_race(rounds_of(n_layers, len(DOSES), n_prompts))
        assert sum(measured.values()) <= planned


@pytest.mark.parametrize(("n_layers", "n_prompts"), [(30, 54), (8, 60), (3, 24)])
def test_a_race_whose_layers_keep_their_dose_writes_what_a_steady_one_does(n_layers, n_prompts):
    _, measured = run(lambda layer, dose: layer - abs(dose - 2.0), n_layers, n_prompts)
    rounds = rounds_of(n_layers, len(DOSES), n_prompts)
    assert sum(measured.values()) == texts_of_race(rounds, steady=True) < texts_of_race(rounds)


def test_noise_costs_little():
    """Shares with a ridge over layers and doses, at 120 prompts: what is lost on average."""
    lost = []
    for seed in range(60):
        rng = Random(seed)
        layer, dose, wide = rng.uniform(0, 9), rng.uniform(1, 4), rng.uniform(1, 4)
        shares = {
            (i, d): 0.8 * math.exp(-(((i - layer) / wide) ** 2) - ((d - dose) / 1.5) ** 2)
            for i in range(10)
            for d in DOSES
        }
        last, _ = run(lambda i, d, s=shares: s[i, d], 10, 120, noise=0.45, seed=seed)
        lost.append(max(shares.values()) - max(shares[at] for at in last))
    assert sum(lost) / len(lost) < 0.03


def test_of_layers_that_are_level_those_go_on_that_are_ahead_in_what_comes_next():
    """On six prompts most shares are the same; the last layers are as good as the first ones then."""

    def raced(scores):
        measured = {}

        def measure(running, first):
            measured.update(dict.fromkeys(running, first))

        def found(first):
            return {at: scores(*at) for at in measured}

        rounds = rounds_of(12, len(DOSES), 12)
        last = race(range(12), DOSES, 2.0, rounds, measure, found)
        return {layer for layer, _ in last}

    assert raced(lambda layer, dose: (0.5, 0.5, float(layer))) == {6, 7, 8, 9, 10, 11}
    assert raced(lambda layer, dose: (0.5, -float(layer), 0.0)) == {0, 1, 2, 3, 4, 5}
    assert raced(lambda layer, dose: (0.5, math.nan, float(layer))) == {6, 7, 8, 9, 10, 11}
    assert 11 not in raced(
        lambda layer, dose: (math.nan if layer == 11 else 0.5, 0.5, float(layer))
    )


def test_a_round_looks_at_its_own_prompts_alone():
    """A race that is given again finds the rows of later rounds, and must go on with the same layers."""
    rows = plain_rows() + steered_rows(1, 1.0, 0.1) + steered_rows(2, 1.0, 0.0)
    late = [
        replace(r, value=math.nan, status=NOT_FINITE) if r.layer == 2 and r.prompt >= 12 else r
        for r in rows
    ]
    one, two = "mean_diff 1 1.0 -1", "mean_diff 2 1.0 -1"
    for table in map(as_table, (rows, late)):
        early = scores_of_round(table, FLIPPED, 6, NO_GROUPS)
        assert [score[:2] for score in (early[one], early[two])] == [(1.0, 1.0), (0.0, 0.0)]
        assert all(math.isnan(score[2]) for score in early.values())
    assert scores_of_round(as_table(rows), FLIPPED, 60, NO_GROUPS)[one][0] == pytest.approx(0.1)
    assert two not in scores_of_round(as_table(late), FLIPPED, 13, NO_GROUPS)


def test_a_score_that_is_no_number_falls_behind():
    last, _ = run(lambda layer, dose: math.nan if layer == 5 else layer / 10, 6, 32)
    assert 5 not in {layer for layer, _ in last}


def test_a_ladder_starts_with_every_other_dose_and_is_refined_around_the_best():
    assert coarse(DOSES, 2.0) == (0.5, 2.0, 3.0)
    assert coarse(DOSES, 1.0) == (1.0, 2.5, 4.0)
    assert neighbours(2.5, DOSES) == (2.0, 2.5, 3.0)
    assert neighbours(0.5, DOSES) == (0.5, 1.0)
    assert coarse((2.0,), 2.0) == neighbours(2.0, (2.0,)) == (2.0,)
    assert rounds_of(30, 6, 120) == (
        Round(30, 3, 6), Round(15, 3, 12), Round(8, 3, 24), Round(4, 3, 48), Round(2, 3, 96),
        Round(2, 3, 120),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("search", "size", "found"),
    [
        ("auto", 1.6e6, GRID),
        ("auto", 1.35e8, RACE),
        ("grid", 1.35e8, GRID),
        ("adaptive", 1.0, RACE),
    ],
)
def test_auto_is_the_grid_where_it_is_small(search, size, found):
    assert resolved(search, 8 * 12 * 120, 48, int(size)) == found


PLAN = StudyPlan(
    layers=(1, 3, 5),
    doses=(1.0, 2.0, 3.0),
    n_new=4,
    max_select=24,
    max_test=6,
    nulls=2,
    n_controls=1,
    n_sweep_controls=1,
    search=RACE,
)


@pytest.fixture(scope="module", autouse=True)
def few_beside():
    with pytest.MonkeyPatch.context() as patch:
        for module in ("measure", "search"):
            patch.setattr(f"steerscope.studies.steering.{module}.BESIDE", 2)
        patch.setattr("steerscope.studies.steering.stated._FEWEST", 2)
        yield


@pytest.fixture(scope="module")
def written_plain():
    """The prompts that were continued without any steering, in their order."""
    return []


@pytest.fixture(scope="module")
def raced(few_beside, written_plain, tmp_path_factory):
    def counting(model, prompts, cells, **choices):
        written_plain.extend(p for p in prompts for cell in cells if not cell.interventions)
        return attempt(model, prompts, cells, **choices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steerscope.studies.bench.attempt", counting)
        return run_study(PLAN, tmp_path_factory.mktemp("race") / "run")


def test_a_study_that_races_states_its_winner_with_the_p_of_prompts_that_chose_nothing(raced):
    table = raced.table()
    select = table[(table.split == "select") & (table.metric == "flipped")]
    asked = select[select.method == "mean_diff"].groupby("cell").size()
    assert set(select[select.method == "mean_diff"].layer) == {1, 3, 5}
    assert asked.min() == 6
    found = find(raced)
    chosen = found.summary[
        (found.summary.layer == found.chosen.layer)
        & (found.summary.dose_natural.round(6) == round(found.chosen.dose_natural, 6))
        & (found.summary.method == "mean_diff")
    ]
    assert list(chosen.asked) == [asked.max()]
    assert found.chosen.n_cells == 9  # three layers with three doses, though some were left behind
    assert found.stated is not None
    alone = corrected_p(table, found.effect, list(chosen.cell), "test", groups_of(raced))
    assert found.chosen.held_out
    assert [found.chosen.p_corrected] == list(alone.values())
    unfinished = sweet_spot(table[table.split == "select"], found.effect, "mean_diff", tried=9)
    [once] = corrected_p(table, found.effect, list(chosen.cell), "select").values()
    assert not unfinished.held_out
    assert unfinished.p_corrected == pytest.approx(min(1.0, 9 * once))
    n, on_all = len(asked), int((asked == asked.max()).sum())
    assert conditions_in_words(found) == (
        f"9 conditions (a race measured {n} of them, and {on_all} to its end)"
    )
    assert layers_in_words(found).endswith(
        "few, 6 distinct prompts at least, which does not rank them."
    )


def test_why_a_condition_won_a_race_is_said_of_those_that_came_to_its_end(raced):
    found = find(raced)
    early = found.summary.assign(
        effect=found.summary.effect.where(found.summary.asked > 6, 1.0), broken=False
    )
    assert (early.effect == 1.0).any()
    said = why_here(replace(found, summary=early, chosen=replace(found.chosen, broken=False)))
    assert "100.0 %" not in said
    mine = early[(early.method == "mean_diff") & (early.dose_natural > 0)]
    finalists = int((mine.asked == mine.asked.max()).sum())
    assert f"among the {finalists} conditions that came to the end of the race" in said


def test_what_is_only_beside_the_winner_is_stated_on_few_prompts_and_plain_is_written_once(
    raced, written_plain
):
    run = raced
    table, chosen = run.table(), find(run).chosen
    stated = table[(table.split == "test") & (table.metric == "flipped")]
    n = stated.groupby(["method", stated.dose_natural.round(3)]).prompt.nunique()
    assert n[("mean_diff", chosen.dose_natural)] == n[("random", chosen.dose_natural)] == 3
    screen = table[(table.split == SCREEN) & (table.cell != "plain")]
    assert set(screen.dose_natural.round(6)) == set(
        PLAN.doses
    )  # whatever the method may have, nulls may too
    others = [d for d in PLAN.doses if d != chosen.dose_natural]
    assert [n[("mean_diff", d)] for d in others] == [2, 2]
    assert set(stated[stated.method == "label_shuffled"].dose_natural.round(3)) == {
        chosen.dose_natural
    }
    nulls = table[(table.split == NULL) & (table.metric == "flipped") & (table.cell != "plain")]
    assert nulls.cell.nunique() == 4
    assert set(nulls.groupby("cell").size()) == {
        2
    }  # a Yes is out of reach, so that they decide nothing
    assert len(written_plain) == len(set(written_plain)) > 0
    assert {f.check for f in audit(run)}.isdisjoint({"missing_rows", "missing_conditions"})
    plan = plan_of(run)
    assert len(run.texts()) <= most_texts(plan, load_texts(plan), len(plan.layers))
    assert most_texts(plan, load_texts(plan), 3) < most_texts(
        replace(plan, search=GRID), load_texts(plan), 3
    )


def test_nulls_that_may_decide_are_asked_until_they_are_told_apart(raced, tmp_path, monkeypatch):
    path = shutil.copytree(raced.path, tmp_path / "run")
    monkeypatch.setattr("steerscope.studies.steering.measure.smallest_effect", lambda *_: -1.0)
    run = run_study(PLAN, path)
    table = run.table()
    nulls = table[(table.split == NULL) & (table.metric == "flipped") & (table.cell != "plain")]
    asked = nulls.groupby("cell").size()
    found = find(run)
    cells = [named(cell) for cell in asked.index]
    first = table[
        ~((table.split == NULL) & (table.prompt > nulls.prompt.drop_duplicates().iloc[1]))
    ]
    [chosen] = set(table.cell[
        (table.split == "test") & (table.method == "mean_diff") & (table.layer == found.chosen.layer)
        & (table.dose_natural.round(6) == round(found.chosen.dose_natural, 6))
    ])  # fmt: skip
    near = {cell.key for cell in still_near(first, found.effect, chosen, cells)}
    assert near
    assert {cell for cell, n in asked.items() if n == 3} == near
    few, most = min(r.items[0] for r in found.nulls), max(r.items[1] for r in found.nulls)
    assert (few, most) == (asked.min(), asked.max())


def test_of_a_null_only_what_the_judge_reads_is_measured(raced):
    table = raced.table()
    nulls = table[(table.split == NULL) & (table.cell != "plain")]
    assert {"flipped", "degenerate", "changed"} <= set(nulls.metric)
    assert {"nll_plain", KL_WRITTEN, "preference"}.isdisjoint(nulls.metric)
    assert nulls.kl_nats.isna().all()
    said = nulls_in_words(find(raced))
    assert said.count("(each on 2 of the 3 prompts), the best of them") == 2
    assert said.count(" on the same prompts, rank p") == 2


@pytest.mark.slow
def test_what_a_race_measures_is_what_a_grid_measures(raced, tmp_path):
    grid = run_study(replace(PLAN, search=GRID), tmp_path / "grid").table()
    key = ["cell", "prompt", "split", "metric"]
    both = raced.table().merge(grid, on=key, suffixes=("", "_grid"))
    both = both[(both.split == "select") & (both.metric.isin(["flipped", "repetition", "changed"]))]
    assert len(both) > 100
    # The same texts, but where two tokens are equally likely but for rounding.
    assert (both.value == both.value_grid).mean() > 0.98


def test_a_race_that_was_cut_goes_on_as_it_was_begun(raced, tmp_path):
    """What a later round measured of a condition must not change who went on from an earlier one."""

    class Cut(Exception):
        pass

    n_steps = 0

    def cut(items, label):
        nonlocal n_steps
        n_steps += label.split()[-2:] == ["select", "prompts"]
        if n_steps == 4:  # asking, and two rounds
            raise Cut
        return items

    with pytest.raises(Cut):
        run_study(PLAN, tmp_path / "run", progress=cut)
    some = Run.open(tmp_path / "run").table()
    assert 0 < len(some) < len(raced.table())
    whole = run_study(PLAN, tmp_path / "run").table()
    pd.testing.assert_frame_equal(
        whole.drop(columns="run"), raced.table().drop(columns="run"), atol=1e-5
    )


def test_a_race_that_was_ended_is_not_run_again(raced, monkeypatch):
    monkeypatch.setattr("steerscope.studies.bench.attempt", None)  # any writing would fail
    before = raced.table()
    assert Run.open(run_study(PLAN, raced.path).path).table().equals(before)


def test_beside_a_judge_of_texts_a_race_compares_few_pairs_under_their_own_numbers(tmp_path):
    plan = replace(
        PLAN, layers=(3,), doses=(2.0,), reference_dose=2.0, judge="sentiment", max_select=6,
        n_sweep_controls=0, n_controls=0, nulls=0,
    )  # fmt: skip
    pairs = load_contrasts("mood").split(0).select
    table = run_study(plan, tmp_path / "run").table()
    compared = table[table.metric == "preference"]
    assert set(compared.split) == {"select"}
    assert compared.cell.nunique() > 1
    for _, mine in compared.groupby("cell"):
        assert sorted(mine.prompt) == list(numbers_of_few(pairs, race=True))
