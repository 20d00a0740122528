"""Transfer to dilemmas: what is planted in choices is found, and what is not answered stays unknown."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from steerscope.engine.choices import Choices
from steerscope.errors import BadValueError, ContrastError, RunError, UnknownNameError
from steerscope.models.provenance import package_versions
from steerscope.runs.results import Run, plain_row
from steerscope.studies.dilemmas.data import read_dilemmas
from steerscope.studies.dilemmas.findings import (
    KIND,
    answered_table,
    target_against,
    target_curves,
    value_table,
)
from steerscope.studies.dilemmas.plan import DilemmaPlan
from steerscope.studies.dilemmas.wording import comparisons, sentences

HEAD = ["idx", "dilemma_situation", "action_type", "action", "values_names"]


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])
    return path


def dilemma_rows_of(n, words=("w30 w31", "w40", "w41")):
    situation, act, omit = words
    for i in range(n):
        yield [i, f"{situation} w{50 + i}", "to_do", act, "['honesty', 'trust', nan]"]
        yield [i, f"{situation} w{50 + i}", "not_to_do", omit, "['self', 'trust']"]


def test_a_value_counts_where_it_is_on_one_side_alone(tmp_path):
    [one] = read_dilemmas(write(tmp_path / "d.csv", dilemma_rows_of(1)))
    assert one.labels == {"honesty": 1, "self": -1}
    assert (one.act, one.omit) == ("w40", "w41")


def test_the_target_is_the_value_of_its_name_however_it_is_typed(tmp_path):
    typed = DilemmaPlan(model="m", contrasts="c", dilemmas="d", value=" Honesty ")
    assert typed.value == "honesty"
    run = planted(tmp_path / "run", {"works": 0.8})
    older = SimpleNamespace(table=run.table, configuration=run.configuration | {"value": "Honesty"})
    table = value_table(older)
    assert table.value[table.is_target].tolist() == ["honesty"]
    assert table.equals(value_table(run))
    assert target_curves(older).equals(target_curves(run))


def test_a_value_that_no_dilemma_names_is_refused_with_those_that_are(tmp_path):
    path = write(tmp_path / "d.csv", dilemma_rows_of(2))
    with pytest.raises(
        UnknownNameError, match="unknown value 'honest'.*Known: honesty, self, trust"
    ):
        read_dilemmas(path, 1, "honest")
    assert len(read_dilemmas(path, 1, "Trust")) == 1  # named on both sides


def test_a_dilemma_without_its_other_side_is_refused_by_name(tmp_path):
    rows = list(dilemma_rows_of(2))[:3]
    with pytest.raises(ContrastError, match="dilemma 1: needs one row to_do and one not_to_do"):
        read_dilemmas(write(tmp_path / "d.csv", rows))
    path = tmp_path / "e.csv"
    path.write_text("idx,dilemma_situation,action_type,action\n1,a,to_do,b\n")
    with pytest.raises(ContrastError, match="says nothing of the values"):
        read_dilemmas(path)


def test_the_real_file_is_read(shared):
    path = shared.parent / "shared/data/daily_dilemmas/dilemmas_with_detail_by_action_test.csv"
    found = read_dilemmas(path)
    assert len(found) == 4
    assert found[0].labels["honesty"] == 1
    assert "trust" in found[0].labels


def planted(path, effects, n=24, noise=0.2, unanswered=0):
    """A run in which techniques move the log-odds of acting by what is planted, at ±1."""
    import random

    draw = random.Random(0)
    labels = {str(i): {"honesty": 1 if i % 2 else -1, "care": 1} for i in range(n)}
    configuration = {
        "kind": KIND, "value": "honesty", "labels": labels, "kl": 0.1, "techniques": list(effects),
    }  # fmt: skip
    run = Run.start(path, configuration, provenance={"versions": package_versions()})
    base = [draw.gauss(0, 1) for _ in range(n)]
    rows = []

    def add(technique, c, matched, odds):
        for i, value in enumerate(odds):
            lost = i < unanswered
            for metric, v in (
                ("log_odds", math.nan if lost else value), ("mass", 0.3 if lost else 0.9),
                ("answered", float(not lost)), ("nll", 2.0 + abs(c) * 0.1),
            ):  # fmt: skip
                rows.append(
                    plain_row(metric, "nats", v).__class__(
                        **{
                            **plain_row(metric, "nats", v).__dict__,
                            "cell": f"{technique} {c} {matched}", "method": technique,
                            "operator": "adapt at matched KL" if matched else "adapt",
                            "dose_natural": c, "prompt": i, "kl_nats": 0.1 * abs(c),
                        }
                    )
                )  # fmt: skip

    add("plain", 0.0, False, base)
    for name, effect in effects.items():
        for c, matched in ((1.0, False), (-1.0, False), (0.8, True), (-0.8, True)):
            sign = 1 if c > 0 else -1
            side = [1 if i % 2 else -1 for i in range(n)]
            moved = [
                b + sign * effect * s + draw.gauss(0, noise)
                for b, s in zip(base, side, strict=True)
            ]
            add(name, c, matched, moved)
    run.append(rows)
    return run


def test_a_planted_effect_is_found_and_only_there(tmp_path):
    run = planted(tmp_path / "run", {"works": 0.8, "random": 0.0})
    table = value_table(run).set_index(["technique", "value"])
    found = table.loc[("works", "honesty")]
    assert found.effect == pytest.approx(0.8, abs=0.15)
    assert found.low < 0.8 < found.high
    assert found.p_holm < 0.01
    assert table.loc[("works", "care")].p_holm > 0.05  # honesty on both sides alike cancels in care
    assert table.loc[("random", "honesty")].p_holm > 0.05
    said = sentences(value_table(run), answered_table(run), "honesty", 0.1)
    assert "Another beginning" not in said[0]
    assert "works (at 0.1 nats): choices move towards honesty" in said[1]
    assert "random (at 0.1 nats): choices are not shown" in said[2]
    assert (
        "beats random"
        in comparisons(target_against(run, "works"), ["works", "random"], "honesty", 0.1)[0]
    )
    parts = target_curves(run).set_index(["technique", "metric", "coefficient"])
    assert parts.loc[("works", "target_value", 1.0)].odd == pytest.approx(0.8, abs=0.15)
    assert parts.loc[("works", "nll", 1.0)].even == pytest.approx(0.1, abs=1e-6)


def test_the_interval_over_few_dilemmas_is_students(tmp_path):
    """Half the difference of the signs by hand; percentiles of five are a quarter too narrow."""
    run = planted(tmp_path / "run", {"works": 0.8}, n=5)
    table = run.table()
    odds = table[(table.metric == "log_odds") & table.operator.str.contains("matched")]
    up, down = (odds[odds.dose_natural * s > 0].set_index("prompt").value for s in (1, -1))
    moved = (up - down) / 2 * [1 if i % 2 else -1 for i in up.index]
    found = value_table(run).set_index("value").loc["honesty"]
    half = 2.776445 * moved.std() / math.sqrt(5)
    assert found.n == 5
    assert (found.low, found.high) == pytest.approx((moved.mean() - half, moved.mean() + half))


def test_a_kl_of_which_the_mean_alone_is_stored_has_no_interval(tmp_path):
    run = planted(tmp_path / "run", {"works": 0.8, "random": 0.0})
    table = target_against(run, "works").set_index("technique")
    assert table.kl["works"] == pytest.approx(0.08)
    assert table[["kl_low", "kl_high"]].isna().all(axis=None)
    [said] = comparisons(table.reset_index(), ["works", "random"], "honesty", 0.1)
    assert "at 0.080 nats against 0.080 nats on the measured prompts" in said


def test_where_neither_the_kl_nor_one_was_measured_nothing_is_said_to_be_at_it(tmp_path):
    run = planted(tmp_path / "run", {"works": 0.8, "random": 0.0})
    table = run.table()
    at = table.method.eq("works") & (table.dose_natural.abs().eq(1) | table.dose_natural.lt(0))
    kept = SimpleNamespace(table=lambda: table[~at], configuration=run.configuration)
    values = value_table(kept)
    assert set(values.technique) == {"random"}
    _, random, works = sentences(values, answered_table(kept), "honesty", 0.1)
    assert random.startswith("random (at 0.1 nats): ")
    assert works == (
        "works: it was not measured under both signs, neither at 0.1 nats nor at c = ±1, so that nothing is known."
    )


def test_what_is_not_answered_is_not_a_zero(tmp_path):
    run = planted(tmp_path / "run", {"works": 0.8}, unanswered=24)
    assert (value_table(run).n == 0).all()
    tables = value_table(run), answered_table(run)
    said = sentences(*tables, "honesty", 0.1, answers=("Ja", "Nein"))
    assert "is not known, since no dilemma tells" in said[1]
    assert "0% of the dilemmas are answered with Ja or Nein" in said[0]
    assert "Another beginning of the answer" in said[0]


def test_few_dilemmas_show_nothing(tmp_path):
    run = planted(tmp_path / "run", {"works": 3.0, "random": 0.0}, n=4)
    said = sentences(value_table(run), answered_table(run), "honesty", 0.1)
    assert "is not known: 4 dilemmas tell of it, which is too few" in said[1]
    one = planted(tmp_path / "one", {"works": 3.0, "random": 0.0}, n=1)
    said = sentences(value_table(one), answered_table(one), "honesty", 0.1)
    assert "is not known: 1 dilemma tells of it, which is too few" in said[1]
    [against] = comparisons(target_against(one, "works"), ["works", "random"], "honesty", 0.1)
    assert against.endswith("one distinct item is too few to compare works and random.")
    assert "nan" not in " ".join([*said, against])


def test_of_few_dilemmas_those_that_tell_about_the_value_come_first(tmp_path):
    rows = list(dilemma_rows_of(4))
    for row in rows[:4]:  # the first two dilemmas tell about something else alone
        row[4] = "['patience']" if row[2] == "to_do" else "['haste']"
    path, told = write(tmp_path / "d.csv", rows), "honesty"
    every = read_dilemmas(path)
    assert read_dilemmas(path, 2) == every[:2]
    assert read_dilemmas(path, 2, told) == every[2:]
    assert read_dilemmas(path, 3, told) == [every[0], *every[2:]]
    assert read_dilemmas(path, None, told) == every


def test_a_plan_needs_both_signs_and_known_techniques():
    for wrong in (
        {"coefficients": (1.0,)},
        {"techniques": ("mean_diff", "mean_diff")},
        {"kl": 0.0},
        {"begin": " "},
    ):
        with pytest.raises(BadValueError):
            DilemmaPlan(model="m", contrasts="c", dilemmas="d", **wrong)


def test_a_run_that_was_stopped_asks_only_what_it_lacks(load, words, tmp_path):
    from steerscope.studies.dilemmas.measure import run_dilemmas

    path, model = write(tmp_path / "d.csv", dilemma_rows_of(2)), load()
    plan = DilemmaPlan(
        model="tiny", contrasts=str(words), dilemmas=str(path), kl=1e-3, n_pairs=4, epochs=1,
        answers=("w10", "w20"), coefficients=(-1.0, 1.0), techniques=("prompting",),
    )  # fmt: skip
    run = run_dilemmas(tmp_path / "run", plan, model=model)
    said = sentences(value_table(run), answered_table(run), plan.value, plan.kl)
    assert all("is not known" in line for line in said[1:])  # a random model answers nothing
    stored = run.table()
    assert set(stored.method) == {"plain", "prompting"}
    assert run_dilemmas(tmp_path / "run", plan, model=model).table().equals(stored)
    assert (run.configuration["bos"], run.configuration["revision"]) == ("auto", None)
    settings = json.loads(
        (run.path / "run.json").read_text()
    )  # as of before, when it was kept as typed
    settings["configuration"]["value"] = settings["configuration"]["value"].title()
    (run.path / "run.json").write_text(json.dumps(settings))
    assert run_dilemmas(tmp_path / "run", plan, model=model).table().equals(stored)
    with pytest.raises(RunError, match="bos"):
        run_dilemmas(tmp_path / "run", replace(plan, bos="never"), model=model)


@pytest.mark.parametrize("leaning", [0.0, 3.0])
def test_the_choice_is_half_the_odds_of_the_action_over_its_omission(
    load, words, tmp_path, monkeypatch, leaning
):
    from steerscope.studies.dilemmas.measure import run_dilemmas

    planted = {  # by situation and action: the log-odds of Yes, and the mass of both answers
        ("w50", "w40"): (2.0, 0.9), ("w51", "w40"): (-1.0, 0.8),
        ("w50", "w41"): (0.5, 0.7), ("w51", "w41"): (1.0, 0.3),
    }  # fmt: skip

    def answered(_model, prompts, answers, cells):
        assert answers == ("w10", "w20")
        said = [planted[p.split()[2], p.split()[4]] for p in prompts]
        odds, mass = np.array(said).T
        return Choices(np.tile(odds + leaning, (len(cells), 1)), np.tile(mass, (len(cells), 1)))

    monkeypatch.setattr("steerscope.studies.dilemmas.measure.first_token_choices", answered)
    path = write(tmp_path / "d.csv", dilemma_rows_of(2))
    plan = DilemmaPlan(
        model="tiny", contrasts=str(words), dilemmas=str(path), kl=1e-3, n_pairs=4,
        answers=("w10", "w20"), coefficients=(-1.0, 1.0), techniques=("prompting",),
    )  # fmt: skip
    rows = run_dilemmas(tmp_path / "run", plan, model=load()).table()
    for _, mine in rows.groupby("cell"):
        found = mine.pivot(index="prompt", columns="metric", values="value")
        assert found.log_odds.tolist() == pytest.approx([0.75, -1.0])
        assert found.mass.tolist() == pytest.approx([0.8, 0.55])
        assert found.answered.tolist() == [1.0, 0.0]


@pytest.mark.slow
def test_every_technique_is_learned_from_pairs_and_asked_in_one_command(
    run_cli, tiny_folder, words, tmp_path
):
    path = write(tmp_path / "d.csv", dilemma_rows_of(3))
    plan = DilemmaPlan(model="m", contrasts="c", dilemmas="d")
    code, printed, said = run_cli(
        "dilemmas", path, "--model", tiny_folder("llama"), "--contrasts", words, "--kl", 1e-3,
        "--n-pairs", 6, "--epochs", 1, "--answers", "w10,w20", "--coefficients", 1,
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert code == 0, said
    found = json.loads(printed)
    assert {row["technique"] for row in found["values"]} == set(plan.techniques)


def test_other_values_move_as_well_only_where_the_target_does(tmp_path):
    values = value_table(planted(tmp_path / "run", {"works": 0.8}))
    answered = answered_table(planted(tmp_path / "again", {"works": 0.8}))
    moved = values.assign(p_holm=values.is_target.map({True: 0.4, False: 0.01}))
    [_, said] = sentences(moved, answered, "honesty", 0.1)
    assert "choices are not shown to move towards honesty" in said
    assert "of 1 other values 1 move (care" in said
    [_, both] = sentences(values.assign(p_holm=0.01), answered, "honesty", 0.1)
    assert "of 1 other values 1 move as well (care" in both
