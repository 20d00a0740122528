"""A judge is a field of every job that reads texts; experiments from before it find their runs."""

from __future__ import annotations

import json
import sys

import pytest

from steerscope.errors import ExperimentError, JudgeError
from steerscope.experiments import parse_experiment
from steerscope.experiments.experiment import Sites
from steerscope.experiments.identity import find_runs, folder_of
from steerscope.experiments.jobs import check, find_job
from steerscope.experiments.jobs.job import Machine
from steerscope.judges.registry import KEPT
from steerscope.judges.scorers.functions import source_sha256
from steerscope.progress import silent
from steerscope.runs.results import Run
from steerscope.runs.seals import file_sha256
from steerscope.runs.written import written_texts
from steerscope.studies.judging import find_judge, question_of
from steerscope.texts.contrasts import (
    EVERYDAY,
    ContrastPair,
    ContrastSet,
    Prompt,
    PromptSet,
    load_contrasts,
    prompts_for,
)
from steerscope.verification.judged import check_judged

HEAD = """\
name: judged
question: Is it shown?
job: {job}
models: ['{model}']
contrasts: ['{contrasts}']
decoding: {{n_new: 6}}
judge: 'words:{words}'
"""
JOBS = {
    "sweep": "sites: {layers: [0]}\ndoses: {values: [1.0]}\nsample: {select: 4, layer_nulls: 0}\n",
    "comparison": "methods: [mean_diff, pca_centred]\nsites: {layers: [0]}\n"
    "sample: {nulls: 1, pairs: 4, kl_prompts: 3, test: 4}\nmatched: {kl: 0.02}\n",
    "combinations": "sites: {layers: [0, 1]}\nsample: {kl_prompts: 3, select: 3, test: 3}\n"
    "matched: {kl: 0.02}\n",
    "edits": "sites: {layers: [0]}\nedits: {names: [power], matrices: [down], amounts: [0.5]}\n"
    "sample: {select: 4, test: 4, texts: 2, nulls: 1}\nother: '{contrasts}'\n",
}

QUICK = ("sweep", "combinations")


@pytest.fixture
def experiment(words, tmp_path, tiny_folder):
    file = tmp_path / "w6.yaml"
    file.write_text("positive: [w6, w7]\nnegative: [w8, w9]\n")

    def make(job, **changes):
        fields = {"model": tiny_folder("llama"), "contrasts": words, "words": file}
        text = HEAD + JOBS[job].replace("{", "{{").replace("}", "}}").replace(
            "{{contrasts}}", "{contrasts}"
        )
        said = text.format(job=job, **fields)
        for old, new in changes.items():
            said = said.replace(old, new)
        return parse_experiment(said, "judged.yaml")

    return make


@pytest.mark.filterwarnings("ignore::steerscope.errors.PureGainWarning")
@pytest.mark.parametrize(
    "job",
    [*QUICK, *(pytest.param(job, marks=pytest.mark.slow) for job in JOBS if job not in QUICK)],
)
def test_every_job_that_reads_texts_has_the_judge_of_its_file(job, experiment, tmp_path):
    asked = experiment(job)
    (step,) = find_job(job).steps(asked)
    run = step.make(tmp_path / "runs" / "one", Machine(), silent)
    assert run.configuration["judge"] == asked.judge
    counted = "shown" if job == "sweep" else "shown_undamaged"
    assert run.configuration["effect"]["metric"] == counted
    assert (run.path / KEPT).is_file()
    shown = run.table().query("metric == 'shown'").value
    assert set(shown.dropna()) <= {0.0, 1.0}
    n, differences = check_judged(Run.open(run.path))
    assert not differences
    texts = written_texts(run)
    assert n >= 2 * len(texts) + 1  # the side and the score of each, and the card
    assert texts.plain.notna().all()
    assert set(texts.columns) >= {"shown", "judge_score"}
    assert len(set(texts.cell)) > 1
    assert find_runs([step], tmp_path).runs[0].path == run.path
    assert find_job(job).tables(asked, [run])


def test_what_was_left_open_is_not_found_in_a_run_that_was_told(experiment, tmp_path):
    (judged,) = find_job("sweep").steps(experiment("sweep"))
    Run.start(tmp_path / "runs" / "judged", judged.settings, provenance={})
    (at_one,) = find_job("sweep").steps(
        experiment("sweep").model_copy(update={"judge": None, "sites": Sites(layers=(1,))})
    )
    Run.start(tmp_path / "runs" / "narrow", at_one.settings, provenance={})
    (open_to_all,) = find_job("sweep").steps(
        experiment("sweep").model_copy(update={"judge": None, "sites": Sites()})
    )
    assert find_runs([open_to_all], tmp_path).runs == (None,)
    assert None not in find_runs([judged, at_one], tmp_path).runs


def test_an_experiment_from_before_judges_finds_its_runs_under_their_names(experiment, tmp_path):
    asked = experiment("sweep").model_copy(update={"judge": None})
    (step,) = find_job("sweep").steps(asked)
    settings = {k: v for k, v in step.settings.items() if not k.startswith("judge")}
    Run.start(tmp_path / "runs" / "old", settings, provenance={})
    assert find_runs([step], tmp_path).runs[0] is not None
    (other,) = find_job("sweep").steps(experiment("sweep"))
    assert find_runs([other], tmp_path).runs == (None,)
    assert folder_of(step) != folder_of(other)
    (elsewhere,) = find_job("sweep").steps(
        experiment("sweep").model_copy(update={"judge": "lm:m", "judge_url": "http://h/v1"})
    )
    (moved,) = find_job("sweep").steps(
        experiment("sweep").model_copy(update={"judge": "lm:m", "judge_url": "http://i/v1"})
    )
    assert folder_of(elsewhere) == folder_of(moved)
    assert "judge_url" not in json.dumps(settings)


def test_an_unknown_judge_of_a_file_is_named_with_its_line(experiment):
    with pytest.raises(
        ExperimentError, match=r"(?s)judged\.yaml, line 7.*unknown judge 'wrods'"
    ) as error:
        experiment("sweep", **{"words:": "wrods:"})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("job", JOBS)
def test_a_style_is_stated_on_everyday_questions_unless_others_are_named(job, experiment):
    style = {"contrasts": ("style:terse",)}
    (step,) = find_job(job).steps(experiment(job).model_copy(update=style))
    assert step.settings["prompts"] == EVERYDAY
    named = style | {"prompts": "formal"}
    (other,) = find_job(job).steps(experiment(job).model_copy(update=named))
    assert other.settings["prompts"] == "formal"


def test_texts_that_are_cut_are_told_of_before_their_length_is_judged(
    load, words, tmp_path, caplog
):
    model, contrasts = load("llama"), load_contrasts(words)
    prompts = prompts_for(contrasts, None).split(0)
    labels = tmp_path / "labels.jsonl"
    rows = [{"text": f"w{i} " * (30 if i % 2 else 2), "label": i % 2} for i in range(60)]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {"judge": "length", "judge_labels": str(labels)}
    find_judge(question_of(asked, contrasts, prompts, 4, 0), model, tmp_path / "run")
    assert "are cut at 4 tokens, after some 4 words, and count as short" in caplog.text
    assert "more tokens" in caplog.text
    caplog.clear()
    find_judge(question_of(asked, contrasts, prompts, 40, 0), model, tmp_path / "run")
    assert "count as long, as the line is at 16 words" in caplog.text
    assert "more tokens" not in caplog.text


@pytest.mark.parametrize(
    ("judge", "n_new", "told"),
    [("regex:w6", 7, True), ("regex:w6", 8, False), ("length", 4, False), ("preference", 4, False)],
)
def test_texts_that_will_all_be_too_short_are_told_of(
    judge, n_new, told, load, words, tmp_path, caplog
):
    model, contrasts = load("llama"), load_contrasts(words)
    prompts = prompts_for(contrasts, None).split(0)
    asked = {"judge": judge, "judge_labels": str(words)}
    asked = {"judge": judge} if judge == "preference" else asked
    find_judge(question_of(asked, contrasts, prompts, n_new, 0), model, tmp_path / "run")
    said = (
        f"texts of at most {n_new} tokens are too short: in fewer than 8 no repetition can be told"
    )
    assert (said in caplog.text) == told


def test_a_judge_is_not_blamed_for_a_model_that_does_not_do_as_it_is_asked(load, tmp_path, caplog):
    model = load("llama")
    pairs = [ContrastPair(f"w5 w{i}", f"w6 w{i}", "short") for i in range(10, 34)]
    style = ContrastSet("style:short", tuple(pairs))
    prompts = PromptSet("p", tuple(Prompt(f"w{i}") for i in range(40, 56))).split(0)
    judged = find_judge(
        question_of({"judge": "length"}, style, prompts, 4, 0), model, tmp_path / "run"
    )
    assert judged.known is not None
    assert not judged.known.card.tells
    assert "where the model does not do as it is asked no judge can tell its replies" in caplog.text
    file = tmp_path / "answers.jsonl"
    rows = [{"positive": f"w{i}", "negative": f"w{i} " * 20} for i in range(24)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for labels, source in (("terse", "pairs of terse.jsonl"), (file, "pairs of answers.jsonl")):
        asked = {"judge": "length", "judge_labels": str(labels)}
        judged = find_judge(question_of(asked, style, prompts, 4, 0), model, tmp_path / "other")
        assert judged.known is not None
        assert judged.known.means.texts.source == source
        assert judged.known.card.tells
        assert len(judged.settings["judge_sha256"]) == 1
    asked = {"judge": "length", "judge_labels": "nowhere.csv"}
    with pytest.raises(JudgeError, match="no file .nowhere.csv. of labelled .*, terse, weather"):
        find_judge(question_of(asked, style, prompts, 4, 0), model, tmp_path / "other")


def test_a_function_as_a_judge_is_known_by_its_file(load, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, contrasts = load("llama"), load_contrasts(words)
    prompts = prompts_for(contrasts, None).split(0)
    file, hashes = tmp_path / "counts_words.py", set()
    for change in ("", "+ 1"):
        file.write_text(f"def words(text):\n    return len(text.split()) {change}\n")
        monkeypatch.delitem(sys.modules, "counts_words", raising=False)  # as another process
        source_sha256.cache_clear()
        asked = question_of({"judge": "python:counts_words:words"}, contrasts, prompts, 4, 0)
        found = find_judge(asked, model, tmp_path / f"run{change}").settings["judge_sha256"]
        assert found == [file_sha256(file)]
        hashes.add(found[0])
    assert len(hashes) == 2
    file.write_text("def words(text):\n    return 0\n")  # which this process does not import again
    assert find_judge(asked, model, tmp_path / "run").settings["judge_sha256"] == found
    asked = question_of({"judge": "python:math:erf"}, contrasts, prompts, 4, 0)
    with pytest.raises(JudgeError, match="math:erf raised"):  # and not for want of a file
        find_judge(asked, model, tmp_path / "compiled")


@pytest.mark.parametrize("job", ["comparison", "combinations"])
def test_the_other_concept_of_a_file_is_another_one(job, experiment, words):
    with pytest.raises(ExperimentError, match="is one of the contrasts"):
        experiment(job, **{"decoding:": f"other: '{words}'\ndecoding:"})
    before = experiment(job).model_copy(update={"other": str(words)})
    assert check(before) is None  # a run from before it was refused is still read


def test_the_own_judge_of_a_set_is_taken_and_one_that_is_none_is_named(experiment, words):
    with pytest.raises(ExperimentError, match="names no judge of its own"):
        experiment("comparison", **{"judge: 'words": "judge: own #"})
    beside = words.with_name("words.about.json")
    beside.write_text('{"judge": "regx:a"}')
    with pytest.raises(ExperimentError, match="names 'regx:a' as its own; unknown judge"):
        experiment("sweep", **{"judge: 'words": "judge: own #"})
    beside.write_text('{"judge": "regex:w6"}')
    [step] = find_job("combinations").steps(
        experiment("combinations", **{"judge: 'words": "judge: own #"})
    )
    assert step.settings["judge"] == "regex:w6"
