"""Where one item overflows nothing is known of the condition: benchmarks, dilemmas and lenses."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from steerscope import figures
from steerscope.report.tables_only import frames_as_tables
from steerscope.runs.overflows import (
    as_far_as_known,
    lost_among,
    lost_cells,
    lost_nulls_in_words,
)
from steerscope.runs.results import NOT_FINITE, Run, as_table
from steerscope.studies.benchmarks.findings import (
    benchmark_items,
    benchmark_table,
    interference,
    overflows,
)
from steerscope.studies.benchmarks.wording import interference_sentences, sentences
from steerscope.studies.dilemmas import wording as dilemmas_in_words
from steerscope.studies.dilemmas.findings import (
    answered_table,
    dilemma_rows,
    target_against,
    value_table,
)
from steerscope.studies.dilemmas.plan import DilemmaPlan
from steerscope.studies.lenses.findings import AGAIN, PLAIN, lens_table
from steerscope.studies.lenses.wording import lenses_in_words
from tests.helpers import row
from tests.studies.test_dilemmas import dilemma_rows_of, planted, write

FIRST, SECOND = "t, 0-shot", "t, 5-shot"


def unless(lost, value):
    """The value and the status of a row."""
    return {"value": math.nan if lost else value, "status": NOT_FINITE if lost else "ok"}


def test_a_condition_is_known_on_all_its_items_or_on_none():
    rows = as_table(
        [
            row(cell=cell, split=split, prompt=p, **unless((cell, split, p) == ("a", "x", 1), 1.0))
            for cell in ("plain", "a")
            for split in ("x", "y")
            for p in range(3)
        ]
    )
    lost = as_far_as_known(rows, ("split", "cell")).value.isna()
    assert set(zip(rows.split[lost], rows.cell[lost], rows.prompt[lost], strict=True)) == {
        ("x", "a", 0), ("x", "a", 1), ("x", "a", 2)
    }  # fmt: skip
    assert as_far_as_known(rows).value.isna().sum() == 6
    assert lost_among(rows, ("split", "cell")) == {("x", "a"): (1, 3)}
    finite = rows[rows.status == "ok"]
    pd.testing.assert_frame_equal(as_far_as_known(finite), finite)
    assert lost_among(finite) == {}


def answered(path, lost):
    """A run of two tasks of 40 items, of which a steered model has right 30 and a plain one 10."""
    run = Run.start(path, {}, provenance={})
    rows, texts = [], []
    for split in (FIRST, SECOND):
        for cell, right in (("plain", 10), ("steered", 30), ("weaker", 30)):
            for p in range(40):
                known = unless(p in lost.get((split, cell), ()), float(p < right))
                rows.append(row(cell=cell, split=split, metric="acc", prompt=p, **known))
                texts.append(
                    {"cell": cell, "split": split, "prompt": p, "given": "q", "written": "a"}
                    | {"cluster": ""}
                )
    run.append(rows, texts)
    return run


def test_conditions_of_which_an_item_is_not_finite_are_named_once_and_in_order():
    status = {"b": (NOT_FINITE, NOT_FINITE), "c": ("unread", "ok"), "a": ("ok", NOT_FINITE)}
    rows = [
        row(cell=cell, prompt=p, status=said)
        for cell, both in status.items()
        for p, said in enumerate(both)
    ]
    assert lost_cells(as_table(rows)) == ["b", "a"]
    assert lost_cells(as_table(rows).query("cell == 'c'")) == []


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (0, ""),
        (1, "1 more, whose logits are not finite, counts as at least as good"),
        (2, "2 more, whose logits are not finite, count as at least as good"),
    ],
)
def test_null_directions_that_are_not_known_are_said_to_count(n, said):
    assert lost_nulls_in_words(n) == said


def test_the_items_that_an_overflow_leaves_of_a_benchmark_tell_nothing(tmp_path):
    run = answered(tmp_path / "run", {(FIRST, "steered"): range(25, 40)})
    items = benchmark_items(run)
    table = benchmark_table(items)
    by_cell = table.set_index(["split", "cell"])
    assert by_cell.n[FIRST, "steered"] == 0
    assert math.isnan(by_cell.value[FIRST, "steered"])
    assert (by_cell.n[FIRST, "weaker"], by_cell.n[SECOND, "steered"]) == (40, 40)
    said = sentences(table, {"steered": "dose 4"}, overflows(run))
    assert said[0] == (
        f"{FIRST}: dose 4 has no acc to compare: on 15 of 40 items the logits are not finite, so "
        "nothing is known of it."
    )
    assert all("raises acc by +0.500" in line for line in said[1:])
    first = interference_sentences(interference(items, ["0-shot", "5-shot"]), {}, "0-shot")[0]
    assert first.endswith("is not known, since numbers are missing.")
    whole = answered(tmp_path / "whole", {})
    assert overflows(whole) == {}
    assert benchmark_items(whole).value.notna().all()


def test_where_the_plain_model_overflows_nothing_is_compared_with_it(tmp_path):
    run = answered(tmp_path / "run", {(FIRST, "plain"): [3]})
    said = sentences(benchmark_table(benchmark_items(run)), {}, overflows(run))
    assert "steered has no acc to compare: on 1 of 40 items the logits are not" in said[0]
    assert "finite without steering, so nothing is known of it." in said[0]
    assert "raises acc" in said[-1]


def overflowing(run, technique, coefficient, items):
    """A run that is the same but for dilemmas whose logits are not finite under a condition."""
    table = run.table()
    lost = (table.method == technique) & (table.dose_natural == coefficient)
    lost &= table.prompt.isin(items)
    table = table.assign(value=table.value.mask(lost), status=table.status.mask(lost, NOT_FINITE))
    return SimpleNamespace(table=lambda: table, configuration=run.configuration)


def told(run):
    values, answers = value_table(run), answered_table(run)
    said = dilemmas_in_words.sentences(values, answers, "honesty", 0.1)
    names = run.configuration["techniques"]
    return said + dilemmas_in_words.comparisons(
        target_against(run, names[0]), names, "honesty", 0.1
    )


def test_the_dilemmas_that_an_overflow_leaves_tell_nothing(tmp_path):
    run = planted(tmp_path / "run", {"works": 0.8, "random": 0.0})
    whole, lost = told(run), overflowing(run, "works", 0.8, [5])
    plain, works, random, against = told(lost)
    assert works == (
        "works (at 0.1 nats): nothing is known, since the logits of a dilemma are not finite."
    )
    assert against.endswith("works: no number at that KL, so nothing is known.")
    assert plain == whole[0]
    assert random.startswith("random (at 0.1 nats): choices are not shown")
    values = value_table(lost).set_index("technique")
    assert (values.n["works"] == 0).all()
    assert (values.n["random"] == 24).all()
    table = answered_table(lost)
    assert table.answered.isna().sum() == 1
    assert told(overflowing(run, "works", 1.0, [5])) == whole  # it is stated at the matched KL
    assert told(overflowing(run, "plain", 0.0, [5]))[0] == (
        "Plain, it is not known how many of the dilemmas are answered, since the logits of a dilemma are not "
        "finite."
    )


def test_where_nothing_overflows_the_shares_of_answers_are_means(tmp_path):
    run = planted(tmp_path / "run", {"works": 0.8}, unanswered=3)
    rows = dilemma_rows(run)
    shares = rows[rows.metric.isin(["answered", "mass", "nll"])]
    keys = ["technique", "coefficient", "matched"]
    expected = shares.pivot_table(index=keys, columns="metric", values="value", aggfunc="mean")
    pd.testing.assert_frame_equal(answered_table(run), expected.reset_index())


def test_dilemmas_at_a_kl_that_is_not_known_are_not_said_to_be_at_another(tmp_path):
    run = planted(tmp_path / "run", {"works": 0.8, "random": 0.0})
    table = run.table()
    table.loc[table.method == "random", "kl_nats"] = math.nan
    *_, said = told(SimpleNamespace(table=lambda: table, configuration=run.configuration))
    assert "works beats random by +0." in said
    assert said.endswith(
        "at 0.080 nats against a KL that is not known on the measured prompts; whether this is a comparison at one "
        "KL is not known."
    )


@pytest.mark.parametrize("lost", [math.nan, -math.inf])
def test_a_dilemma_that_overflows_where_it_is_read_alone_has_overflowed(
    load, words, tmp_path, monkeypatch, lost
):
    from steerscope.studies.dilemmas.measure import run_dilemmas

    def scored(_model, texts, cells):
        return [[torch.tensor([-1.0, lost if i == 1 else -2.0]) for i, _ in enumerate(texts)]
                for _ in cells]  # fmt: skip

    monkeypatch.setattr("steerscope.studies.dilemmas.measure.log_likelihoods_under", scored)
    plan = DilemmaPlan(
        model="tiny", contrasts=str(words), dilemmas=str(write(tmp_path / "d.csv", dilemma_rows_of(3))),
        kl=1e-3, n_pairs=4, answers=("w10", "w20"), coefficients=(-1.0, 1.0), techniques=("prompting",),
    )  # fmt: skip
    rows = run_dilemmas(tmp_path / "run", plan, model=load()).table()
    assert set(rows.prompt[rows.status == NOT_FINITE]) == {1}
    assert set(rows.prompt[rows.status == "ok"]) == {0, 2}


def drifting(path, lost):
    """A run of 40 texts in which a lens drifts by far, but for those texts that are lost."""
    told = {"kind": "LensPlan", "lens_names": ["soul", "sea"], "seed": 0}
    run = Run.start(path, told, provenance={})
    run.append(
        [
            row(
                cell=cell, metric=lens, prompt=p, split="test",
                **unless(cell == "steered" and p in lost, shift * (lens == "soul") + p % 3),
            )
            for lens in ("soul", "sea")
            for cell, shift in ((PLAIN, 0.0), (AGAIN, 0.0), ("steered", 5.0))
            for p in range(40)
        ]
    )  # fmt: skip
    return run


@pytest.mark.parametrize("lost", [range(34), [7], range(40)])
def test_the_texts_that_an_overflow_leaves_do_not_drift(tmp_path, lost):
    run = drifting(tmp_path / "run", lost)
    table = lens_table(run)
    assert table.n.tolist() == [0, 0]
    assert table.change.isna().all()
    assert lenses_in_words(table) == [
        f"soul, sea: nothing is known, since the logits of {len(lost)} of 40 texts are not finite."
    ]
    [kept] = frames_as_tables(run)
    assert len(kept.frame) == 2
    drawn = figures.lens_dots(table)
    assert {t.name for t in drawn.data} == {"threshold of plain text"}
    [caption] = [a.text for a in drawn.layout.annotations]
    assert caption.startswith(f"Nothing is known, since the logits of {len(lost)} of 40 texts are")
    whole = lens_table(drifting(tmp_path / "whole", []))
    assert list(whole.columns) == list(table.columns)
    assert "soul drifts by +5.00" in lenses_in_words(whole)[0]
