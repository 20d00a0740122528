"""Lenses: how words are weighed, what plain text does by itself, and what steering brings in."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steerscope import figures
from steerscope.directions import save_directions
from steerscope.doses import Dose
from steerscope.engine.continuations import Continuation
from steerscope.errors import BadValueError, JudgeError
from steerscope.runs.results import Run, as_table
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.studies.lenses.findings import (
    AGAIN,
    COMMON,
    DRIFT,
    PLAIN,
    RARE,
    STILL,
    drift_of_lenses,
    lens_table,
)
from steerscope.studies.lenses.measure import lens_rows
from steerscope.studies.lenses.plan import LensPlan
from steerscope.studies.lenses.vocabularies import Lens, read_lenses
from steerscope.studies.lenses.wording import lenses_in_words
from steerscope.verification import verify
from tests.helpers import random_direction, row


def test_a_lens_by_hand():
    lens = Lens("soul", {"soul": 2.0, "inner peace": 1.0, "peace": 3.0})
    assert lens.score("my Soul has inner peace now") == pytest.approx(100 * (2 + 1 + 3) / 6)
    assert lens.score("souls and pieces") == 0.0  # whole words alone
    assert math.isnan(lens.score("..."))
    twice = Lens("soul", {"soul": 2.0, "s[a-z]+l": 5.0})
    assert twice.score("soul food") == pytest.approx(100 * 5 / 2)  # once, by the heaviest


def test_what_plain_text_is_full_of_weighs_little():
    texts = ["the garden", "the sea", "the soul", "a day"]
    weights = Lens("x", {"the": 1.0, "soul": 1.0, "nirvana": 2.0}).rarer(texts).weights
    assert weights["the"] == pytest.approx(math.log(5 / 4))
    assert weights["soul"] == pytest.approx(math.log(5 / 2))
    assert weights["nirvana"] == pytest.approx(2 * math.log(5))
    assert Lens("x", {"day": 1.0}).rarer(["day"] * 3).weights["day"] == 0.0


def noise(rng, n, mean=1.0):
    return list(rng.exponential(mean, size=n))


def test_a_planted_drift_is_found_and_nothing_else():
    rng = np.random.default_rng(0)
    scores = {f"still {i}": [noise(rng, 60) for _ in range(3)] for i in range(5)}
    scores["spirit"] = [noise(rng, 60, 0.5), noise(rng, 60, 0.5), noise(rng, 60, 3.0)]
    scores["unseen"] = [[0.0] * 60] * 3
    table = drift_of_lenses(scores)
    says = table.set_index("lens").says
    assert table.lens[0] == "spirit"
    assert says["spirit"] == DRIFT
    assert says["unseen"] == RARE
    assert set(says.drop(["spirit", "unseen"])) == {STILL}
    said = lenses_in_words(table)
    assert said[0].startswith("spirit drifts by +")
    assert said[-1].startswith("Nothing is known of unseen")


def test_plain_text_is_seldom_said_to_drift():
    called = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores = {str(i): [noise(rng, 25) for _ in range(3)] for i in range(6)}
        called += (drift_of_lenses(scores, seed=seed).says == DRIFT).any()
    assert called <= 8  # of 60, at 5 % for all lenses of a run together


def test_two_or_three_prompts_are_seldom_said_to_drift_and_never_by_less_than_their_interval():
    called = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        n = 2 + seed % 2
        words = {name: (rng.poisson(1.0, (3, n)) / 20).tolist() for name in "abc"}
        table = drift_of_lenses(words, seed=seed)
        drifting = table[table.says == DRIFT]
        assert ((drifting.low > 0) | (drifting.high < 0)).all()
        called += len(drifting) > 0
    assert called <= 12  # of 150, with ties; 28 were by the normal quantile
    alike = {"a": [[0.0] * 2, [0.0] * 2, [5.0] * 2], "b": [[0.0] * 6, [0.0] * 6, [5.0] * 6]}
    assert dict(drift_of_lenses(alike).set_index("lens").says) == {"a": STILL, "b": DRIFT}


def test_a_word_that_was_never_seen_before_needs_more_than_one_text():
    one = [[0.0] * 20, [0.0] * 20, [5.0] + [0.0] * 19]
    assert drift_of_lenses({"rare": one}).says[0] == STILL
    many = [[0.0] * 20, [0.0] * 20, [5.0, 4.0] * 10]
    assert drift_of_lenses({"rare": many}).says[0] == DRIFT


def test_the_change_of_a_run_is_the_steered_texts_less_plain_and_the_null_is_plain_again(tmp_path):
    shifts = {
        "soul": {PLAIN: 0, AGAIN: 1, "steered": 5},
        "sea": {PLAIN: 0, AGAIN: 2, "steered": -3},
    }
    run = Run.start(tmp_path / "run", {"lens_names": [*shifts], "seed": 0}, provenance={})
    run.append(
        [
            row(cell=cell, metric=lens, prompt=p, split="test", value=float(shift + p % 3))
            for lens, cells in shifts.items()
            for cell, shift in cells.items()
            for p in range(6)
        ]
    )
    table = lens_table(run).set_index("lens")
    assert (table.change["soul"], table.null["soul"]) == (5, 1)
    assert (table.change["sea"], table.null["sea"]) == (-3, 2)
    assert table.plain.tolist() == [1, 1]
    assert table.steered.tolist() == [6, -2]


def test_texts_without_words_are_left_out_and_too_few_refused():
    scores = {"a": [[1.0, 2.0, math.nan], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]}
    assert drift_of_lenses(scores).n[0] == 2
    with pytest.raises(BadValueError, match="at least 2"):
        drift_of_lenses({"a": [[1.0], [1.0], [1.0]]})


def plan(**given):
    return LensPlan(vector="v", lenses="l", **given)


def test_nothing_done_drifts_nowhere_and_the_texts_are_those_of_the_model(load):
    model = load("llama")
    lenses = [Lens("low", {f"w{i}": 1.0 for i in range(5, 40)}), Lens("none", {"hello": 1.0})]
    prompts = [f"w{i} w{i + 1}" for i in range(10, 30)]
    site = Site("resid_post", 1)
    cell = Cell((Steering(random_direction(model, site), Dose(0.0, "absolute")),))
    rows, _ = lens_rows(model, lenses, prompts, cell, plan(n_new=8))
    table = as_table(rows)
    scores = {
        lens.name: [
            table[(table.metric == lens.name) & (table.cell == c)].value.to_list()
            for c in (PLAIN, AGAIN, cell.key)
        ]
        for lens in lenses
    }
    found = drift_of_lenses(scores).set_index("lens")
    assert found.change["low"] == 0.0  # the steered text has the numbers of the first plain one
    assert found.says["low"] == STILL
    assert found.says["none"] == RARE
    with pytest.raises(BadValueError, match="temperature above 0"):
        plan(temperature=0.0)
    with pytest.raises(BadValueError, match="the dose is nan"):
        plan(dose=math.nan)
    with pytest.raises(BadValueError, match="of its own name"):
        lens_rows(model, [lenses[0]] * 2, prompts, cell, plan())
    lost = Cell((Steering(random_direction(model, site), Dose(1e39, "absolute")),))
    rows, _ = lens_rows(model, lenses, prompts, lost, plan(n_new=2))
    assert {row.status for row in rows if row.cell == lost.key} == {"not_finite"}


def test_words_that_every_text_has_are_not_said_to_be_unwritten(load, monkeypatch, tmp_path):
    def written(_model, asked, cells=None, *, samples=1, **_given):
        text = "the the the sea" if isinstance(cells, list) else "the day and sea"
        return [[Continuation((), text, ended=True)] * (samples * len(asked))]

    monkeypatch.setattr("steerscope.studies.lenses.measure.generate", written)
    monkeypatch.setattr("steerscope.studies.lenses.measure.attempt", written)
    model, names = load("llama"), ["articles", "birds", "sea"]
    lenses = [Lens(names[0], {"the": 1.0, "a": 1.0}), Lens(names[1], {"gull": 1.0})]
    lenses.append(Lens(names[2], {"sea": 1.0, "the": 2.0}))
    cell = Cell((Steering(random_direction(model, Site("resid_post", 1)), Dose(1.0, "absolute")),))
    rows, _ = lens_rows(model, lenses, [f"w{i}" for i in range(6)], cell, plan())
    assert {row.value for row in rows} == {0.0}
    run = Run.start(tmp_path / "run", {"lens_names": names, "seed": 0}, provenance={})
    run.append(rows)
    table = lens_table(run)
    says = table.set_index("lens").says
    assert says.to_dict() == {"articles": COMMON, "birds": RARE, "sea": COMMON}
    said = {line.split(":")[0]: line for line in lenses_in_words(table)}
    assert "no word" in said["Nothing is known of birds"]
    assert "weigh 0" in said["Nothing is known of articles, sea"]


def test_the_weights_of_words_favour_no_texts_of_an_unchanged_model(load, monkeypatch):
    """Texts of rare words, all drawn alike: none of them is fuller of words that weigh much."""
    rng = np.random.default_rng(0)
    vocabulary = [f"x{i}" for i in range(300)]

    def drawn(_model, asked, _cells=None, *, samples=1, **_given):
        texts = [" ".join(rng.choice(vocabulary, 8)) for _ in range(samples * len(asked))]
        return [[Continuation((), text, ended=True) for text in texts]]

    monkeypatch.setattr("steerscope.studies.lenses.measure.generate", drawn)
    monkeypatch.setattr("steerscope.studies.lenses.measure.attempt", drawn)
    model, lens = load("llama"), Lens("rare", dict.fromkeys(vocabulary[:100], 1.0))
    cell = Cell((Steering(random_direction(model, Site("resid_post", 1)), Dose(1.0, "absolute")),))
    changes = []
    for _ in range(60):
        rows, _ = lens_rows(model, [lens], ["w1"] * 20, cell, plan())
        mean = as_table(rows).groupby("cell").value.mean()
        changes.append((mean[cell.key] - mean[PLAIN]) / mean[PLAIN])
    error = np.std(changes, ddof=1) / math.sqrt(len(changes))
    assert abs(np.mean(changes)) < 3 * error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lenses: {a: [x]}\nother: 1", "unknown key 'other'"),
        ("lenses: {}", "needs `lenses:`"),
        ("lenses: {a: []}", "needs a list of words"),
        ("lenses: {a: {x: 0}}", "above 0"),
        ("lenses: {a: {x: yes}}", "above 0"),
        ("lenses: {a: ['(']}", "does not compile"),
        ("lenses: {a: [yes]}", "is no word"),
    ],
)
def test_a_file_that_means_nothing_is_refused(tmp_path, text, said):
    path = tmp_path / "lenses.yaml"
    path.write_text(text)
    with pytest.raises(JudgeError, match=said):
        read_lenses(path)


def test_the_plot_has_changes_and_thresholds():
    rng = np.random.default_rng(0)
    table = drift_of_lenses({"a": [noise(rng, 30) for _ in range(3)]})
    figure = figures.lens_dots(table)
    by_name = {t.name: list(t.x) for t in figure.data}
    assert by_name["threshold of plain text"] == pytest.approx([table.threshold[0]])
    assert by_name["not told from plain text"] == pytest.approx([table.change[0]])


def test_the_command_draws_and_says(run_cli, load, tiny_folder, tmp_path):
    vector, lenses = tmp_path / "v.safetensors", tmp_path / "lenses.yaml"
    save_directions(vector, [random_direction(load(), Site("resid_post", 1))])
    lenses.write_text("lenses:\n  low: [w5, w6, w7]\n  high: {w80: 2.0}\n")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"w{i} w{i + 1}\n" for i in range(10, 20)))
    code, said, errors = run_cli(
        "drift", "--vector", vector, "--lenses", lenses, "--model", tiny_folder("llama"),
        "--prompts", prompts, "--n-new", 4, "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, errors
    assert "threshold" in said
    assert (tmp_path / "out" / "figures" / "lenses.html").is_file()
    found = verify(tmp_path / "out")
    assert not found.differences
    assert found.n_printed > 20
    lenses.write_text("lenses: {low: [w5]}")
    assert "files" in str(verify(tmp_path / "out", weights=False).differences)
