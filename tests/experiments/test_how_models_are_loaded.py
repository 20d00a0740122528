"""How texts begin and the revision of a model are keys of every experiment, stated where they were asked for."""

from __future__ import annotations

import pytest

from steerscope.experiments import parse_experiment
from steerscope.experiments.experiment import WITHOUT_PAIRS
from steerscope.experiments.identity import folder_of
from steerscope.experiments.jobs import JOBS, find_job
from steerscope.experiments.jobs.job import Machine
from steerscope.progress import silent
from steerscope.verification import verify

FILE = """\
name: begun
question: Does it matter how texts begin?
job: {job}
models: ['{model}']
"""
MORE = {
    "overlap": "autoencoder: microworld\n",
    "dilemmas": "dilemmas: d.csv\n",
    "routing": "plan: {phases: p.yaml}\n",
    "budget": "plan: {budgets: [32], prompts: mood}\n",
    "features": "plan: {autoencoder: microworld}\n",
    "carrying": "plan: {source: microworld}\n",
    "drift": "plan: {vector: v.safetensors, lenses: l.yaml, prompts: mood}\n",
}


def asked(job, more):
    pairs = "" if job in WITHOUT_PAIRS else "contrasts: [mood]\n"
    said = FILE.format(job=job, model="m") + pairs + MORE.get(job, "") + more
    return parse_experiment(said, "f.yaml")


@pytest.mark.parametrize("job", JOBS)
def test_every_job_takes_them_and_a_run_states_what_is_not_usual(job):
    plain, *_ = find_job(job).steps(asked(job, ""))
    other, *_ = find_job(job).steps(asked(job, "bos: never\nrevision: v2\n"))
    assert (other.settings["bos"], other.settings["revision"]) == ("never", "v2")
    assert plain.settings.get("bos", "auto") == "auto"
    assert plain.settings.get("revision") is None
    assert folder_of(plain) != folder_of(other)


def test_texts_begin_as_the_file_says_and_the_run_is_verified_so(tiny_folder, words, tmp_path):
    text = FILE.format(job="combinations", model=tiny_folder("llama")) + (
        f"contrasts: ['{words}']\nsites: {{layers: [1]}}\ndecoding: {{n_new: 4}}\njudge: length\n"
        "sample: {kl_prompts: 3, select: 3, test: 3}\nmatched: {kl: 0.02}\n"
    )
    doses = []
    for bos in ("auto", "never"):
        [step] = find_job("combinations").steps(parse_experiment(f"{text}bos: {bos}\n", "f.yaml"))
        run = step.make(tmp_path / bos, Machine(), silent)
        assert verify(run.path).differences == ()
        doses.append(run.table().dose_natural.max())  # that reaches the KL
    assert doses[0] != doses[1]
