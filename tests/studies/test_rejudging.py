"""The texts of a run by another judge: the very rows of a run by that judge, and nothing where it decides more."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from steerscope.cli import main
from steerscope.errors import BadValueError, JudgeError, RunError
from steerscope.experiments import parse_experiment
from steerscope.experiments.identity import find_runs
from steerscope.experiments.jobs import find_job
from steerscope.experiments.jobs.job import Machine
from steerscope.progress import silent
from steerscope.runs.results import Run
from steerscope.studies.features.plan import FeaturePlan
from steerscope.studies.features.run_steering import run_features
from steerscope.studies.rejudging import rejudge
from steerscope.verification import verify
from tests.helpers import row

FILE = """\
name: judged
question: Is it shown?
job: comparison
models: ['{model}']
contrasts: ['{contrasts}']
decoding: {{n_new: 6}}
judge: '{judge}'
methods: [mean_diff, pca_centred]
sites: {{layers: [0]}}
sample: {{nulls: 1, pairs: 4, kl_prompts: 3, test: 6}}
matched: {{kl: 0.02}}
"""


def same_rows(one, other):
    tables = [
        run.table()
        .drop(columns="run")
        .sort_values(["cell", "prompt", "split", "metric"], ignore_index=True)
        for run in (one, other)
    ]
    pd.testing.assert_frame_equal(*tables)
    assert one.configuration["effect"] == other.configuration["effect"]


TRIAL = {
    "autoencoder": "microworld",
    "kls": (0.05,),
    "k": 3,
    "n_select": 3,
    "n_test": 6,
    "n_new": 6,
}


@pytest.fixture(scope="module")
def compared(tiny_folder, tmp_path_factory):
    """Runs of the same comparison by two judges, and a step of the second."""
    folder = tmp_path_factory.mktemp("compared")
    words = folder / "words.jsonl"
    words.write_text(
        "".join(
            f'{{"positive": "w{i} w6 w7", "negative": "w{i} w8 w9", "concept": "c"}}\n'
            for i in range(10, 34)
        )
    )
    for name, positive in (("one", "[w6, w7]"), ("two", "[w20, w21, w22, w23, w24]")):
        (folder / f"{name}.yaml").write_text(f"positive: {positive}\nnegative: [w8, w9]\n")
    made = []
    for name in ("one", "two"):
        text = FILE.format(
            model=tiny_folder("llama"), contrasts=words, judge=f"words:{folder / name}.yaml"
        )
        [step] = find_job("comparison").steps(parse_experiment(text, "f.yaml"))
        made.append(step.make(folder / name, Machine(), silent))
    return (*made, step)


def test_another_judge_makes_the_run_that_it_would_have_made(compared, tmp_path, capsys):
    one, two, step = compared
    (tmp_path / "runs").mkdir()
    again = rejudge(one, two.configuration["judge"], tmp_path / "runs" / "again")
    same_rows(again, two)
    assert not again.table().equals(one.table())
    assert verify(again.path).differences == ()
    assert find_runs([step], tmp_path).runs[0].path == again.path  # of the experiment, as if run
    main(
        [
            "rejudge",
            str(two.path),
            "--judge",
            one.configuration["judge"],
            "--out",
            str(tmp_path / "x"),
        ]
    )
    assert " read otherwise: " in capsys.readouterr().out
    same_rows(Run.open(tmp_path / "x"), one)


def test_trials_of_features_are_read_again_too(tmp_path):
    runs = {
        judge: run_features(tmp_path / judge[:5], FeaturePlan(judge=judge, **TRIAL))
        for judge in ("classifier", "regex:[aeiou]{2}")
    }
    again = rejudge(runs["classifier"], "regex:[aeiou]{2}", tmp_path / "again")
    same_rows(again, runs["regex:[aeiou]{2}"])
    assert verify(again.path).differences == ()


def test_of_a_text_that_the_first_judge_could_not_read_damage_is_not_known(tmp_path, monkeypatch):
    (tmp_path / "reads.py").write_text(
        "def some(text):\n    return None if len(text) % 3 == 0 else len(text)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    first = run_features(tmp_path / "first", FeaturePlan(judge="python:reads:some", **TRIAL))
    again = rejudge(first, "regex:qqq", tmp_path / "again")
    native = run_features(tmp_path / "native", FeaturePlan(judge="regex:qqq", **TRIAL))
    tables = [r.table().set_index(["metric", "cell", "prompt"]).value for r in (again, native)]
    for metric in ("shown", "judge_score", "shown_undamaged"):
        pd.testing.assert_series_equal(*(t.loc[metric].sort_index() for t in tables))
    known, true = (t.loc["undamaged"].sort_index() for t in tables)
    assert known.isna().any()
    pd.testing.assert_series_equal(known.dropna(), true[known.notna()])
    with pytest.raises(JudgeError, match="of those that the new one counts, cannot read"):
        rejudge(first, "regex:.", tmp_path / "x")
    with pytest.raises(JudgeError, match="of those that the new one counts, cannot read"):
        rejudge(again, "regex:.", tmp_path / "x")  # nor is it known at second hand
    twice = rejudge(again, "regex:qqqq", tmp_path / "twice")
    same = [r.table().drop(columns="run") for r in (twice, again)]
    pd.testing.assert_frame_equal(*same)


def test_where_a_judge_decides_what_is_measured_or_cannot_read_none_is_put_in_its_place(
    compared, tmp_path, monkeypatch
):
    one, _, _ = compared
    study = Run.start(
        tmp_path / "study",
        {"kind": "StudyPlan", "effect": one.configuration["effect"]},
        provenance={},
    )
    study.append([row()])
    with pytest.raises(RunError, match="decides what is measured"):
        rejudge(study, "length", tmp_path / "x")
    with pytest.raises(BadValueError, match="gives no scores"):
        rejudge(one, "preference", tmp_path / "x")
    with pytest.raises(JudgeError, match="different limits .too_short"):
        rejudge(one, "length", tmp_path / "x")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.txt").write_text("dear")
    with pytest.raises(RunError, match="is not a run"):
        rejudge(one, "regex:w6", tmp_path / "else")
    assert [p.name for p in (tmp_path / "else").iterdir()] == ["thesis.txt"]
    shutil.copytree(one.path, tmp_path / "lost")
    for part in (tmp_path / "lost" / "texts").iterdir():
        part.unlink()
    with pytest.raises(RunError, match="not as it was measured"):
        rejudge(Run.open(tmp_path / "lost"), "regex:w6", tmp_path / "x")
    (tmp_path / "reads.py").write_text(
        "def none(text):\n    return 1.0 if 'w' in text[:1] and len(text) < 12 else None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(JudgeError):
        rejudge(one, "python:reads:none", tmp_path / "x")
    assert not (tmp_path / "x" / "run.json").exists()
