"""Every set and file that a run names has its hash in the run: a change of it is found, and stops the run from going on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from steerscope.errors import RunError
from steerscope.experiments import experiment_of
from steerscope.experiments.identity import find_runs, folder_of
from steerscope.experiments.inputs import check_inputs, compare_inputs
from steerscope.experiments.jobs import find_job
from steerscope.experiments.jobs.job import Machine
from steerscope.experiments.running import check_unchanged
from steerscope.progress import silent
from steerscope.runs.continuing import INPUTS
from steerscope.runs.results import Run
from tests.helpers import row

SMALL = {
    "adapter": {"kind": "lora", "rank": 2, "layers": [0], "epochs": 1, "pairs": 4},
    "matched": {"kl": 1e-5}, "doses": {"values": [1.0]}, "decoding": {"n_new": 4},
    "sample": {"test": 3, "pairs": 3, "kl_prompts": 2},
}  # fmt: skip
NAMES = {  # which files an experiment of the job names, and for what
    "study": ("contrasts", "prompts", "plan.other"),
    "sweep": ("contrasts", "prompts"),
    "comparison": ("contrasts", "prompts", "other"),
    "combinations": ("contrasts", "prompts", "other"),
    "edits": ("contrasts", "prompts", "other", "plan.texts"),
    "adapter": ("contrasts", "prompts"),
    "premise": ("contrasts", "prompts"),
    "predictors": ("contrasts",),
    "overlap": ("contrasts", "step.texts"),
    "dilemmas": ("contrasts", "dilemmas"),
}
ADDED = {
    "contrasts": '{"positive": "w40 w6 w7", "negative": "w40 w8 w9", "concept": "c"}\n',
    "other": '{"positive": "w41 w6 w7", "negative": "w41 w8 w9", "concept": "d"}\n',
    "prompts": '{"prompt": "w11 w12"}\n',
    "texts": "w11 w12\n",
    "dilemmas": "one more\n",
}


class Stopped(Exception):
    """The run is begun, and nothing is to be measured."""


@pytest.fixture
def files(words, tmp_path, monkeypatch):
    """A file of each kind, by what it is for."""
    found = {"contrasts": words, "other": tmp_path / "other.jsonl", "prompts": tmp_path / "a.jsonl"}
    found |= {"texts": tmp_path / "lines.txt", "dilemmas": tmp_path / "dilemmas.csv"}
    found["other"].write_text(words.read_text().replace('"c"', '"d"').replace("w7", "w5"))
    found["prompts"].write_text("".join(f'{{"prompt": "w{i} w10 w11"}}\n' for i in range(10, 34)))
    found["texts"].write_text("".join(f"w{i} w10 w11\n" for i in range(10, 34)))
    found["dilemmas"].write_text("some\n")
    monkeypatch.setattr("steerscope.studies.dilemmas.measure.read_dilemmas", lambda *_: [])
    return found


@pytest.fixture
def step_of(files, tiny_folder):
    """The step of an experiment that names a file for everything that its job takes."""

    def make(job, **more):
        named = {name.rpartition(".")[2]: name for name in NAMES[job]}
        said = {"name": "asked", "question": "Is it seen?", "job": job}
        said["models"] = ["microworld" if job == "overlap" else str(tiny_folder("llama"))]
        said |= {use: str(files[use]) for use, name in named.items() if use == name}
        said["contrasts"] = [said["contrasts"]]
        said |= SMALL if job == "adapter" else {}
        said |= {"edits": {"names": ["power"], "amounts": [0.5]}} if job == "edits" else {}
        said |= {"autoencoder": "microworld"} if job == "overlap" else {}
        said |= {"judge": "length"} if job in {"study", "sweep", "edits", "combinations"} else {}
        (step,) = find_job(job).steps(experiment_of(said | more, "asked.yaml"))
        for use, name in named.items():
            if name.startswith("plan."):
                step = replace(step, plan=replace(step.plan, **{use: str(files[use])}))
            elif name.startswith("step."):
                step = replace(step, **{use: str(files[use])})
        return step

    return make


@pytest.fixture
def begin(monkeypatch):
    """Makes a step until its run is begun, in which there is a row then."""
    real = Run.start.__func__

    def start(cls, folder, configuration, *, provenance):
        run = real(cls, folder, configuration, provenance=provenance)
        run.append([row()])
        raise Stopped

    def make(step, path):
        with monkeypatch.context() as patch:
            patch.setattr(Run, "start", classmethod(start))
            with pytest.raises(Stopped):
                step.make(path, Machine(), silent)
        return Run.open(path)

    return make


@pytest.mark.parametrize("job", NAMES)
def test_a_change_of_any_file_that_a_run_names_is_found_and_the_run_does_not_go_on(
    job, step_of, files, begin, tmp_path
):
    step = step_of(job)
    run = begin(step, tmp_path / "runs" / folder_of(step))
    assert find_runs([step], tmp_path).runs[0].path == run.path
    found = compare_inputs(run, weights=False)
    assert (found.differences, found.not_compared) == ((), ())
    begin(step, run.path)  # the same files, and it goes on
    for use in (name.rpartition(".")[2] for name in NAMES[job]):
        before = files[use].read_text()
        files[use].write_text(ADDED[use] + before)
        said = [str(d) for d in check_inputs(run, weights=False)]
        called = "capability" if (job, use) == ("edits", "other") else use
        assert any(called in line and "the hash" in line for line in said), (use, said)
        with pytest.raises(RunError, match="was measured with another content"):
            check_unchanged(run, step)
        with pytest.raises(RunError, match=f"other settings .*{called}|another training"):
            step.make(run.path, Machine(), silent)
        files[use].write_text(before)


@pytest.mark.parametrize("job", ["study", "comparison", "edits", "adapter"])
def test_a_run_from_before_hashes_were_kept_goes_on_and_verify_says_what_is_not_compared(
    job, step_of, begin, tmp_path, run_cli
):
    step = step_of(job)
    run = begin(step, tmp_path / "runs" / folder_of(step))
    said = json.loads((run.path / "run.json").read_text())
    del said["provenance"][INPUTS]
    (run.path / "run.json").write_text(json.dumps(said))
    assert find_runs([step], tmp_path).runs[0].path == run.path
    begin(step, run.path)
    found = compare_inputs(Run.open(run.path), weights=False)
    assert found.differences == ()
    aside = {name.rpartition(".")[2] for name in NAMES[job]} - {"contrasts"}
    aside -= set() if job == "adapter" else {"prompts"}  # of which such a run keeps a hash
    names = {"capability" if name == "other" and job == "edits" else name for name in aside}
    assert {line.split()[0] for line in found.not_compared} == names
    _, out, _ = run_cli("verify", run.path, "--no-weights")
    assert out.count("(the run keeps no hash of it)") == len(names)


CHAT = "{% for m in messages %}w20 {{ m['content'] }} {% endfor %}w21"


@pytest.mark.parametrize("job", ["study", "comparison", "adapter", "premise", "dilemmas"])
def test_in_a_chat_template_the_texts_are_compared_without_the_model(
    job, step_of, files, begin, tmp_path, tiny_folder
):
    model = shutil.copytree(tiny_folder("llama"), tmp_path / "chatty")
    (model / "chat_template.jinja").write_text(CHAT)
    step = step_of(job, chat=True, models=[str(model)])
    run = begin(step, tmp_path / "runs" / folder_of(step))
    assert find_runs([step], tmp_path).runs[0].path == run.path
    assert compare_inputs(run, weights=False).differences == ()
    before = files["contrasts"].read_text()
    files["contrasts"].write_text(ADDED["contrasts"] + before)
    assert [d.where for d in check_inputs(run, weights=False)] == ["input contrasts"]


@pytest.mark.parametrize("job", ["study", "edits", "adapter"])
def test_another_file_of_the_judge_is_found_and_so_is_the_run(job, step_of, begin, tmp_path):
    labels = tmp_path / "labels.jsonl"
    text = '{"positive": "w10 w6 w6 w7", "negative": "w10 w9", "concept": "c"}\n'
    labels.write_text("".join(text.replace("w10", f"w{i}") for i in range(10, 20)))
    step = step_of(job, judge="length", judge_labels=str(labels))
    run = begin(step, tmp_path / "runs" / folder_of(step))
    assert find_runs([step], tmp_path).runs[0].path == run.path
    assert check_inputs(run, weights=False) == []
    if job == "adapter":  # a run from before its labelled texts were named
        older = shutil.copytree(run.path, tmp_path / "older" / "run")
        settings = json.loads((older / "run.json").read_text())
        del settings["configuration"]["judge_labels"]
        (older / "run.json").write_text(json.dumps(settings))
        said = compare_inputs(Run.open(older), weights=False)
        assert said.differences == ()
        assert any("does not name its labelled texts" in line for line in said.not_compared)
    labels.write_text(labels.read_text() + text.replace("w10", "w40"))
    assert [d.where for d in check_inputs(run, weights=False)] == ["judge"]


def test_a_file_of_an_older_judge_that_is_gone_is_a_difference(step_of, begin, tmp_path):
    words = tmp_path / "w.yaml"
    words.write_text("positive: [w6]\n")
    run = begin(step_of("adapter", judge=f"words:{words}"), tmp_path / "run")
    assert "judge_labels" not in run.configuration
    assert check_inputs(run, weights=False) == []
    words.unlink()
    found = compare_inputs(run, weights=False)
    assert [d.where for d in found.differences] == ["judge"]
    assert not any("labelled" in line for line in found.not_compared)
