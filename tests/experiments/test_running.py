"""Experiments run: the same bytes twice, nothing lost to a kill, other settings refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict

import pytest

from steerscope.cli import main
from steerscope.errors import ContrastError, RunError
from steerscope.experiments import (
    bundled_experiments,
    load_experiment,
    open_experiment,
    parse_experiment,
    print_experiment,
    run_experiment,
)
from steerscope.experiments.identity import folder_of
from steerscope.experiments.jobs import find_job
from steerscope.experiments.running import FILE
from steerscope.runs.judgements import JUDGEMENTS
from steerscope.runs.results import Run
from steerscope.verification import verify
from tests.helpers import row
from tests.studies.test_findings import FLIPPED, held_out_rows, sweep_rows

SMALL = """\
name: small
question: Is it the same again?
job: sweep
models: [microworld]
contrasts: [mood]
sites: {layers: [3]}
doses: {values: [1.0, 2.0]}
sample: {select: 6, layer_nulls: 1}
decoding: {n_new: 4}
figures: [kl_by_depth]
"""


def measured(path, settings):
    """A finished run of these settings, in which one number was measured."""
    run = Run.start(path, settings, provenance={})
    run.append([row()])
    run.seal()
    return run


def printed(out):
    return {p.name: p.read_bytes() for p in sorted((out / "tables").iterdir())}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("small") / "first"
    run_experiment(parse_experiment(SMALL, "small.yaml"), out)
    return out


def test_the_same_experiment_again_gives_the_same_bytes(small, tmp_path):
    run_experiment(parse_experiment(SMALL, "small.yaml"), tmp_path / "second")
    assert printed(small) == printed(tmp_path / "second")
    assert set(printed(small)) == {
        "answers.csv", "conditions.csv", "eigengap.csv", "metrics.csv", "needed.csv",
    }  # fmt: skip


def test_a_fresh_experiment_verifies_with_its_weights(small):
    found = verify(small)
    assert not found.differences
    assert found.n_rows > 100
    assert found.n_printed > 100


def test_a_finished_experiment_is_printed_again_without_a_model(small, monkeypatch):
    monkeypatch.setattr("steerscope.studies.steering.prepare.load_model", None)
    before = printed(small)
    written = print_experiment(parse_experiment(SMALL, "small.yaml"), small)
    assert run_experiment(parse_experiment(SMALL, "small.yaml"), small) == written
    assert printed(small) == before


def test_other_settings_are_refused_in_the_same_folder(small):
    other = parse_experiment(SMALL.replace("layers: [3]", "layers: [4]"), "small.yaml")
    with pytest.raises(RunError, match=r"other settings \(sites\)"):
        run_experiment(other, small)


def test_what_is_added_to_an_experiment_is_measured_beside_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr("steerscope.experiments.running.print_experiment", lambda *_given: [])
    monkeypatch.setattr("steerscope.experiments.running.check_inputs", lambda *_given, **_more: [])
    few, more, judged = (
        parse_experiment(text, "small.yaml")
        for text in (
            SMALL,
            SMALL + "seeds: [1, 0]\n",
            SMALL + "seeds: [0, 1, 2]\njudge: oracle\n",
        )
    )
    [step] = find_job("sweep").steps(few)
    measured(tmp_path / "runs" / folder_of(step), step.settings)
    (tmp_path / FILE).write_text(few.model_dump_json())
    made = []

    def make(self, out, *_given):
        made.append(out.name)
        measured(out, self.settings)

    monkeypatch.setattr(type(step), "make", make)
    run_experiment(more, tmp_path)
    added = next(s for s in find_job("sweep").steps(more) if s.plan.seed == 1)
    assert made == [folder_of(added)]
    assert open_experiment(tmp_path).seeds == (1, 0)
    for other, setting in ((few, "seeds"), (judged, "judge, seeds")):
        with pytest.raises(RunError, match=rf"other settings \({setting}\)"):
            run_experiment(other, tmp_path)
    assert made == [folder_of(added)]


def test_what_was_added_and_cannot_be_measured_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("steerscope.experiments.running.print_experiment", lambda *_given: [])
    monkeypatch.setattr("steerscope.experiments.running.check_inputs", lambda *_given, **_more: [])
    few, wrong, right = (
        parse_experiment(SMALL.replace("[mood]", concepts), "small.yaml")
        for concepts in ("[mood]", "[mood, moood]", "[mood, register]")
    )
    [step] = find_job("sweep").steps(few)
    measured(tmp_path / "runs" / folder_of(step), step.settings)
    before = few.model_dump_json()
    (tmp_path / FILE).write_text(before)
    with pytest.raises(ContrastError, match="moood"):
        run_experiment(wrong, tmp_path)
    assert (tmp_path / FILE).read_text() == before
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [folder_of(step)]
    (tmp_path / FILE).write_text(wrong.model_dump_json())  # as a kill would leave it
    run_experiment(few, tmp_path)
    assert open_experiment(tmp_path) == few
    begun = next(s for s in find_job("sweep").steps(right) if s.plan.contrasts == "register")
    kept = tmp_path / "runs" / folder_of(begun) / JUDGEMENTS
    kept.parent.mkdir()
    kept.write_text("{}")  # a judge that failed half-way
    run_experiment(few, tmp_path)
    monkeypatch.setattr(type(step), "make", lambda self, out, *_given: measured(out, self.settings))
    run_experiment(right, tmp_path)
    assert kept.is_file()
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize("name", bundled_experiments())
def test_what_is_written_of_an_experiment_is_read_back_with_the_same_runs(
    name, tmp_path, monkeypatch
):
    wanted = load_experiment(name)
    monkeypatch.setattr("steerscope.experiments.running.print_experiment", lambda *_given: [])
    monkeypatch.setattr("steerscope.experiments.running.check_inputs", lambda *_given, **_more: [])
    for step in find_job(wanted.job).steps(wanted):  # as if all were measured
        measured(tmp_path / name / "runs" / folder_of(step), step.settings)
    (tmp_path / name / FILE).write_text(wanted.model_dump_json())
    run_experiment(wanted, tmp_path / name)
    read = open_experiment(tmp_path / name)
    assert read == wanted
    assert find_job(read.job).steps(read) == find_job(wanted.job).steps(wanted)


def test_a_study_ends_with_its_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("steerscope.experiments.running.print_experiment", lambda *_given: [])
    monkeypatch.setattr("steerscope.experiments.running.check_inputs", lambda *_given, **_more: [])
    text = SMALL.replace("job: sweep", "job: study").replace("[kl_by_depth]", "[dose_response]")
    (tmp_path / "small.yaml").write_text(text.replace("{select: 6, layer_nulls: 1}", "{select: 6}"))
    wanted = load_experiment(tmp_path / "small.yaml")
    [step] = find_job("study").steps(wanted)
    settings = step.settings | {"effect": asdict(FLIPPED)}
    monkeypatch.setattr(type(step), "settings", settings)
    run = Run.start(tmp_path / "out" / "runs" / folder_of(step), settings, provenance={})
    run.append(sweep_rows() + held_out_rows(effect=0.0))
    run.seal()
    (tmp_path / "out" / FILE).write_text(wanted.model_dump_json())
    main(["run", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out")])
    assert f"{run.path.name}: No: microworld was not steered" in capsys.readouterr().out


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(RunError, match="no experiment's folder"):
        run_experiment(parse_experiment(SMALL, "small.yaml"), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letters.txt"]


# Imports once; each child is a run of the experiment, killed after a random part of the time that a
# whole one takes.
_KILLER = """
import os, random, shutil, signal, sys, time
from pathlib import Path
from steerscope.experiments import parse_experiment, run_experiment

experiment, out = parse_experiment(Path(sys.argv[1]).read_text(), "small.yaml"), Path(sys.argv[2])

def child(folder):
    pid = os.fork()
    if pid == 0:
        run_experiment(experiment, folder)
        os._exit(0)
    return pid

start = time.monotonic()
assert os.waitpid(child(out / "whole"), 0)[1] == 0
whole = time.monotonic() - start
rng, killed = random.Random(0), 0
for moment in sorted(rng.uniform(0.05, 0.95) for _ in range(10)):
    pid = child(out / "broken")
    time.sleep(moment * whole)
    os.kill(pid, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
assert os.waitpid(child(out / "broken"), 0)[1] == 0
print(killed)
"""


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_prints_the_tables_of_an_unbroken_run(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.replace("layers: [3]", "layers: [2, 3, 4]"))
    code = [sys.executable, "-c", _KILLER, str(path), str(tmp_path)]
    said = subprocess.run(code, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert int(said.stdout) >= 5  # a run that was done before its kill leaves nothing to break
    assert printed(tmp_path / "whole") == printed(tmp_path / "broken")
    assert not verify(tmp_path / "broken", weights=False).differences
