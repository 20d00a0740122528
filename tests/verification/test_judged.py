"""Verify reads every stored text again with the judge of the run, and names what differs."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace

import pandas as pd
import pytest

from steerscope.engine.continuations import Continuation
from steerscope.judges import MicroworldJudge
from steerscope.judges.judges import read_all
from steerscope.judges.labelled import LabelledText, LabelledTexts
from steerscope.judges.registry import KEPT, Means, as_stored, make_judge
from steerscope.runs.results import Run
from steerscope.studies.steering.plan import SweepPlan
from steerscope.studies.steering.texts import load_texts
from steerscope.texts.contrasts import Prompt
from steerscope.verification.judged import check_judged
from tests.helpers import row

WRITTEN = {
    "plain": ["a b", "a b c d e f g h", ""],
    "cell": ["a", "a b c", "no one knows it yet at all"],
}


def judge_of():
    sides = [("a", True), ("b b", True), ("c " * 9, False), ("d " * 7, False)]
    texts = tuple(LabelledText(text, side, n) for n, (text, side) in enumerate(sides))
    return make_judge("length", Means(LabelledTexts("by hand", texts, texts), "terse"), "terse")


def start(path, judge, configuration, given):
    run = Run.start(path, configuration | {"effect": asdict(judge.effect)}, provenance={})
    for cell, written in WRITTEN.items():
        continuations = [Continuation((1,) * len(t), t, ended=True) for t in written]
        read = read_all(judge, given, continuations)
        rows = [
            replace(row(metric=m, value=v, prompt=p, cell=cell), split="select")
            for p, found in enumerate(read)
            for m, v in found.items()
        ]
        texts = [
            {"cell": cell, "prompt": p, "split": "select", "given": given[p].text, "written": t}
            for p, t in enumerate(written)
        ]
        run.append(rows, texts)
    return run


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    known = judge_of()
    path = tmp_path_factory.mktemp("judged") / "run"
    given = [Prompt(f"p{i}") for i in range(3)]
    run = start(path, known.judge, {"kind": "SweepPlan", "judge": "length"}, given)
    (run.path / KEPT).write_text(as_stored(known))
    run.seal()
    return run.path


@pytest.fixture
def copy(judged, tmp_path):
    return Run.open(shutil.copytree(judged, tmp_path / "run"))


def found(run):
    return [str(d) for d in check_judged(run)[1]]


def tamper(run, metric, value):
    """Change the number of prompt 1 of the steered condition, in its file."""
    for part in (run.path / "rows").glob("*.parquet"):
        table = pd.read_parquet(part)
        there = (table.cell == "cell") & (table.prompt == 1) & (table.metric == metric)
        if there.any():
            table.loc[there, "value"] = value
            table.to_parquet(part)


def test_a_judged_run_that_is_as_it_was_has_every_number_compared(copy):
    n, differences = check_judged(copy)
    assert (n, differences) == (2 * 6 + 1, [])  # two of each text, and the card


@pytest.mark.parametrize(
    ("metric", "value"), [("shown", 0.0), ("judge_score", 4.0), ("shown", math.nan)]
)
def test_an_altered_number_is_named_by_its_row(copy, metric, value):
    tamper(copy, metric, value)
    (line,) = found(copy)
    assert line.startswith(f"rows: {metric} of prompt 1 (select) under cell is {value!r}, expected")


def test_an_altered_text_is_read_as_it_stands(copy):
    for part in (copy.path / "texts").glob("*.parquet"):
        table = pd.read_parquet(part)
        table["written"] = table.written.replace("a b c", "a b c d e f g")
        table.to_parquet(part)
    assert [line.split(" under")[0] for line in found(copy)] == [
        "rows: shown of prompt 1 (select)",
        "rows: judge_score of prompt 1 (select)",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 6.5}, "judge.json: threshold is 6.5, expected 4.5 by its labelled texts"),
        ({"sign": 1}, "judge.json: sign is 1, expected -1 by its labelled texts"),
        ({"name": "lenght"}, "judge.json: the judge is not usable"),
        ({"texts": None}, "judge.json: the judge is not usable"),
    ],
)
def test_an_altered_judge_is_a_finding(copy, change, said):
    stored = json.loads((copy.path / KEPT).read_text())
    (copy.path / KEPT).write_text(json.dumps(stored | change))
    assert any(line.startswith(said) for line in found(copy))


def test_an_altered_card_is_a_finding(copy):
    stored = json.loads((copy.path / KEPT).read_text())
    stored["card"]["sensitivity"]["low"] = 0.99
    (copy.path / KEPT).write_text(json.dumps(stored))
    assert [line.split(" is")[0] for line in found(copy)] == ["judge.json: sensitivity (low)"]


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_lost_or_damaged_judge_is_a_finding(copy, content):
    path = copy.path / KEPT
    path.unlink() if content is None else path.write_text(content)
    (line,) = found(copy)
    assert line.startswith("judge.json: the judge is not usable")


def test_what_the_oracle_read_is_read_again(tmp_path):
    plan = SweepPlan(max_select=3, max_test=3)
    texts = load_texts(plan)
    judge = MicroworldJudge.for_contrasts(texts.contrasts, texts.all_prompts)
    given = texts.prompts.select.prompts
    run = start(tmp_path / "run", judge, {"kind": "SweepPlan", **asdict(plan)}, given)
    n, differences = check_judged(run)
    assert n == 2 * 3 * 5
    assert not differences
    tamper(
        run,
        "flipped",
        1.0
        - run.table().query("cell == 'cell' and prompt == 1 and metric == 'flipped'").value.iloc[0],
    )
    (line,) = found(run)
    assert line.startswith("rows: flipped of prompt 1 (select) under cell")
