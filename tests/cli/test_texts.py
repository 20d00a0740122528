"""The texts of a run on the command line: side by side, what differs marked, and as JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from steerscope.runs.results import Run
from steerscope.runs.written import written_texts

OLDER = Path(__file__).parents[1] / "older" / "run"


def test_without_a_choice_it_prints_the_chosen_condition_on_the_held_out_prompts(run_cli):
    code, said, errors = run_cli("texts", OLDER, "--number", 2)
    assert code == 0, errors
    assert "prompt 0 (test), mean_diff, layer 2, +1 natural" in said
    assert "[-w86 w86-] w73 [-w14-]" in said
    assert "{+w30+} w73 {+w79 w12+}" in said
    assert "nll_plain 3.6 (plain 2.32)" in " ".join(said.split())
    assert said.splitlines()[-1] == "2 of 6 texts; --number 0 prints all 6"


def test_json_has_every_text_that_is_named_with_its_metrics_and_those_of_plain(run_cli):
    asked = {"layer": 1, "dose": -1.0, "method": "mean_diff", "split": "select"}
    options = [part for name, value in asked.items() for part in (f"--{name}", value)]
    code, said, errors = run_cli("texts", OLDER, *options, "--number", 0, "--json")
    assert code == 0, errors
    found = json.loads(said)
    expected = written_texts(Run.open(OLDER), **asked)
    assert found["n"] == len(found["texts"]) == len(expected) == 6
    for text, row in zip(found["texts"], expected.to_dict("records"), strict=True):
        assert text["written"] == row["written"]
        assert text["metrics"]["nll_plain"] == row["nll_plain"]
        assert text["plain_metrics"]["changed"] == 0.0
    code, said, _ = run_cli("texts", OLDER, "--method", "plain", "--prompt", 3, "--json")
    assert [t["cell"] for t in json.loads(said)["texts"]] == ["plain"]


def test_the_nulls_are_all_shown_where_none_is_named(run_cli, tmp_path):
    path = shutil.copytree(OLDER, tmp_path / "run")
    for kind in ("rows", "texts"):
        for part in (path / kind).glob("*.parquet"):
            table = pd.read_parquet(part)
            mine = (table.split == "test") & (table.cell != "plain")
            null = table[mine].assign(split="null", cell="null_random 1 0.5 1")
            null = null.drop_duplicates([c for c in ("cell", "prompt", "metric") if c in null])
            if "method" in null:
                null = null.assign(method="null_random", layer=1, dose_natural=0.5)
            pd.concat([table, null]).to_parquet(part)
    code, said, errors = run_cli("texts", path, "--split", "null", "--number", 1)
    assert code == 0, errors
    assert "(null), null_random, layer 1, +0.5 natural" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layer", 9], "unknown layer among these texts '9'. Known: 1, 2."),
        (["--split", "fit"], "unknown split"),
        (["--number", -1], "--number -1 is outside 0 to"),
    ],
)
def test_what_is_not_there_is_one_line_with_what_is(run_cli, options, said):
    code, printed, errors = run_cli("texts", OLDER, *options)
    assert (code, printed) == (2, "")
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_nothing_that_a_model_wrote_is_markup_or_a_command_for_the_terminal(run_cli, tmp_path):
    path = shutil.copytree(OLDER, tmp_path / "run")
    for part in (path / "texts").glob("*.parquet"):
        texts = pd.read_parquet(part)
        texts["written"] = texts.cell.map({"plain": "[bold]a[/bold] \x1b[2J"}).fillna(
            "[/x] :b: \u202e"
        )
        texts.to_parquet(part)
    code, said, errors = run_cli("texts", path, "--number", 1)
    assert code == 0, errors
    assert "\x1b" not in said
    assert "\u202e" not in said
    for shown in ("bold", "\\x1b", "/x", ":b:", "\\u202e"):
        assert shown in said
