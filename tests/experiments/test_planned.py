"""Jobs whose file gives a whole plan: what is measured is verified, and a wrong plan is one line."""

from __future__ import annotations

import pytest

from steerscope.errors import SteerscopeError
from steerscope.experiments import experiment_of, run_experiment
from steerscope.experiments.experiment import WITHOUT_PAIRS
from steerscope.experiments.jobs.planned import PLANNED
from steerscope.verification import verify

PLANS = {
    "budget": {"budgets": [4, 8]},
    "drift": {"vector": "v.safetensors", "lenses": "lenses.yaml"},
    "routing": {"phases": "phases.yaml"},
    "carrying": {"source": "gpt2", "ridges": [0.1, 1]},
    "features": {"autoencoder": "microworld", "kls": [0.1, 0.2]},
}


def said(job, plan, **more):
    pairs = {} if job in WITHOUT_PAIRS else {"contrasts": ["mood"]}
    whole = {"name": "x", "question": "?", "job": job, "models": ["microworld"], "plan": plan}
    return experiment_of({**whole, **pairs, **more}, "the file")


@pytest.mark.parametrize("job", PLANNED, ids=lambda job: job.name)
def test_each_is_read_with_its_plan_and_says_what_a_run_says(job):
    [step] = job.steps(said(job.name, PLANS[job.name]))
    assert step.settings["kind"] == type(step.plan).__name__
    assert {k: v for k, v in step.settings.items() if k in PLANS[job.name]} == {
        k: tuple(v) if isinstance(v, list) else v for k, v in PLANS[job.name].items()
    }
    assert step.reduced(4).size(3).work > 0
    with pytest.raises(SteerscopeError, match="unknown setting of the plan 'dosis'"):
        said(job.name, {**PLANS[job.name], "dosis": 1})
    with pytest.raises(SteerscopeError, match="unknown setting of the plan 'model'"):
        said(job.name, {**PLANS[job.name], "model": "gpt2"})
    with pytest.raises(SteerscopeError):
        said(job.name, {})


def test_where_there_are_no_pairs_none_are_taken_and_elsewhere_they_are_missed():
    with pytest.raises(SteerscopeError, match="does not use 'contrasts'"):
        said("budget", PLANS["budget"], contrasts=["mood"])
    with pytest.raises(SteerscopeError, match="the key 'contrasts' is missing"):
        experiment_of(
            {"name": "x", "question": "?", "job": "study", "models": ["microworld"]}, "the file"
        )


def test_what_is_measured_is_verified_and_measured_once(tiny_folder, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"w{i} w{i + 1}\n" for i in range(5, 45)))
    plan = {"budgets": [4], "longest": 40, "temperature": 1.0, "prompts": str(prompts)}
    wanted = said("budget", plan, models=[str(tiny_folder("llama"))])
    run_experiment(wanted, tmp_path / "out")
    found = verify(tmp_path / "out")
    assert not found.differences
    assert found.n_printed > 0
    told = []
    run_experiment(wanted, tmp_path / "out", say=told.append)
    assert not told
