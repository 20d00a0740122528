"""Every text of a run with its condition, the plain text beside it, and its metrics."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from steerscope.errors import RunError, UnknownNameError
from steerscope.runs.results import Run
from steerscope.runs.written import all_texts, choose_texts, metrics_of, plain_scores, written_texts
from tests.helpers import row

OLDER = Path(__file__).parents[1] / "older" / "run"


@pytest.fixture(scope="module")
def older():
    return Run.open(OLDER)


def test_every_stored_text_has_its_own_numbers_and_the_plain_text_of_its_prompt(older):
    found = written_texts(older)
    stored = {(t.split, t.cell, t.prompt): t for t in older.texts().itertuples()}
    assert len(found) == len(stored)
    rows = {(r.split, r.cell, r.prompt, r.metric): r for r in older.table().itertuples()}
    metrics = metrics_of(found)
    assert set(metrics) == {"changed", "degenerate", "distinct_2", "nll_plain", "repetition"}
    for text in found.to_dict("records"):
        key = text["split"], text["cell"], text["prompt"]
        assert (text["given"], text["written"]) == (stored[key].given, stored[key].written)
        assert text["plain"] == stored[text["split"], "plain", text["prompt"]].written
        for metric in metrics:
            assert text[metric] == pytest.approx(rows[*key, metric].value, nan_ok=True)
        mine = rows[*key, "changed"]
        labels = ("method", "layer", "dose_natural", "seed", "kl_nats", "status")
        assert [text[name] for name in labels] == [getattr(mine, name) for name in labels]


def test_what_is_named_is_what_is_left(older):
    there = all_texts(older)
    found = choose_texts(there, split="test", method="mean_diff", dose=-2.00001)
    assert set(found.layer) == {2}
    assert set(found.dose_natural) == {-2.0}
    assert found.prompt.tolist() == sorted(set(found.prompt))
    assert len(choose_texts(there, split="test", method="random", dose=1, prompt=0)) == 3  # seeds
    plain = plain_scores(there)
    assert (plain.changed == 0).all()
    assert set(plain.index) == set(older.texts()[["split", "prompt"]].itertuples(index=False))


def test_a_dose_that_another_layer_holds_with_other_roundings_is_the_same_dose(older):
    there = all_texts(older)
    at = (there.layer == 1) & (there.dose_natural == 2.0)
    there.loc[at, "dose_natural"] = 2.0000000000000004
    whole = choose_texts(all_texts(older), dose=2)
    assert len(choose_texts(there, dose=2)) == len(whole) > at.sum() > 0
    with pytest.raises(UnknownNameError) as failed:
        choose_texts(there, dose=9)
    assert str(failed.value).count(" 2.") == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"layer": 7}, "unknown layer among these texts '7'. Known: -1, 1, 2."),
        ({"method": "mean_dif"}, "Did you mean 'mean_diff'?"),
        ({"split": "test", "layer": 2, "dose": 0.5}, "Known: -1, -2, 1, 2."),
        ({"dose": math.nan}, "unknown dose"),
        ({"prompt": 99}, "unknown prompt"),
        ({"split": "train"}, "Known: select, test."),
    ],
)
def test_what_no_text_is_of_is_refused_with_what_there_is(older, asked, said):
    with pytest.raises(UnknownNameError) as error:
        written_texts(older, **asked)
    assert said in str(error.value)


def test_a_text_without_plain_and_a_metric_named_like_a_column_keep_their_place(tmp_path):
    run = Run.start(tmp_path / "run", {}, provenance={})
    with pytest.raises(RunError, match="has no texts"):
        written_texts(run)
    first = replace(row(), cell="c", prompt=0, split="test", method="m", value=0.5)
    run.append(
        [
            replace(first, metric="status"),
            replace(first, metric="flipped", value=math.nan),
            replace(first, metric="preference", prompt=1),  # of a pair: not of the text of prompt 1
            replace(first, metric="flipped", prompt=1, value=1.0),
        ],
        [{"cell": "c", "prompt": p, "split": "test", "given": "g", "written": "w"} for p in (0, 1)],
    )
    found = written_texts(run)
    assert metrics_of(found) == ["flipped", "status_metric"]
    assert found.plain.isna().all()
    assert math.isnan(found.flipped[0])
    assert found.status_metric[0] == 0.5
    assert math.isnan(found.status_metric[1])
