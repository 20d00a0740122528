"""Adapters as a job: one recipe for the command line and for files, trained, judged and verified."""

from __future__ import annotations

import dataclasses

import pytest

from steerscope.cli.adapter_training import Aiming, Designing, recipe_of
from steerscope.errors import BadValueError, ExperimentError, UnknownNameError, UnsupportedSiteError
from steerscope.experiments import experiment_of, run_experiment
from steerscope.experiments.identity import find_runs
from steerscope.experiments.jobs import find_job
from steerscope.experiments.running import runs_of
from steerscope.report import write_report
from steerscope.studies.transfer.recipe import AdapterRecipe
from steerscope.verification import verify
from steerscope.weights.adapter import load_adapter


@pytest.fixture
def said(tiny_folder, words):
    return {
        "name": "adapters", "question": "Does it?", "job": "adapter",
        "models": [str(tiny_folder("llama"))], "contrasts": [str(words)],
        "adapter": {"kind": "lora", "rank": 2, "layers": [0], "epochs": 1, "pairs": 4},
        "matched": {"kl": 1e-5}, "doses": {"values": [1.0]}, "decoding": {"n_new": 4},
        "sample": {"test": 3, "pairs": 3, "kl_prompts": 2},
    }  # fmt: skip


def test_the_command_and_a_file_have_the_same_defaults():
    assert recipe_of(Designing(), Aiming()) == AdapterRecipe()
    fields = {f.name for f in dataclasses.fields(AdapterRecipe)}
    options = {f.name for group in (Designing, Aiming) for f in dataclasses.fields(group)}
    assert options == fields


def test_a_recipe_makes_what_it_says(load):
    model = load("llama")
    design = AdapterRecipe(kind="svd", rank=2, layers=(1,), turn="both").design(model)
    assert (design.rank, design.turn) == (2, "both")
    assert {place.layer for place in design.matrices} == {1}
    learned = AdapterRecipe(kind="oft", block=2, matrices=("q",)).design(model)
    assert (learned.kind, learned.sizes.block) == ("oft", 2)
    assert {place.name for place in learned.matrices} == {"q"}
    assert AdapterRecipe(kind="svd").training(3).learning_rate == 1e-2
    assert AdapterRecipe(kind="ia3").training(3).learning_rate == 2e-2
    assert AdapterRecipe(beta=0.7).objective.beta == 0.7


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"kind": "reft"}, UnknownNameError),
        ({"kind": "lora", "turn": "both"}, BadValueError),
        ({"kind": "svd", "block": 2}, BadValueError),
        ({"matrices": ("x",)}, UnknownNameError),
        ({"epochs": 0}, BadValueError),
        ({"pairs": -1}, BadValueError),
        ({"aim": "love"}, UnknownNameError),
    ],
)
def test_a_recipe_that_means_nothing_is_refused(settings, error):
    with pytest.raises(error):
        AdapterRecipe(**settings)


def test_the_job_trains_judges_draws_and_verifies(load, said, tmp_path):
    asked = experiment_of(said, "here")
    written = run_experiment(asked, tmp_path / "out")
    assert {p.name for p in written} >= {"conditions.csv", "at_one_kl.csv"}
    [run] = runs_of(asked, tmp_path / "out")
    names = [t["name"] for t in run.configuration["techniques"]]
    assert names == ["lora", "mean_diff", "random"]
    adapter = load_adapter(run.path / "adapter.safetensors", load("llama"))
    assert adapter.record.plan["epochs"] == 1
    assert not list((tmp_path / "out" / "runs").glob(".*.training"))
    assert not verify(tmp_path / "out").differences
    assert "lora" in write_report(run).read_text()
    [step] = find_job("adapter").steps(asked)
    assert find_runs([step], tmp_path / "out").runs[0].path == run.path
    other = find_job("adapter").steps(experiment_of(said | {"adapter": {"kind": "ia3"}}, "here"))
    assert find_runs(other, tmp_path / "out").runs == (None,)


def test_the_direction_is_looked_for_among_the_layers_that_are_named(said, tmp_path):
    at_two = experiment_of(said | {"sites": {"layers": [2]}}, "here")
    run_experiment(at_two, tmp_path / "out")
    [run] = runs_of(at_two, tmp_path / "out")
    assert run.configuration["direction_layers"] == [2]
    by_name = {t["name"]: t["where"] for t in run.configuration["techniques"]}
    assert by_name["mean_diff"] == by_name["random"] == "resid_post.2"
    [everywhere] = find_job("adapter").steps(experiment_of(said, "here"))
    assert find_runs([everywhere], tmp_path / "out").runs == (None,)
    [step] = find_job("adapter").steps(at_two)
    assert step.reduced(4).layers == (2,)
    assert not verify(tmp_path / "out").differences


def test_a_layer_that_is_not_there_is_refused_before_the_training(said, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(AdapterRecipe, "learn", lambda *_, **__: trained.append(1))
    with pytest.raises(UnsupportedSiteError, match="layers 0 to 2"):
        run_experiment(experiment_of(said | {"sites": {"layers": [9]}}, "here"), tmp_path / "out")
    assert not trained


def test_settings_that_are_not_known_are_refused(said):
    with pytest.raises(ExperimentError, match="unknown setting of an adapter 'ranks'"):
        experiment_of(said | {"adapter": {"ranks": 2}}, "here")
    with pytest.raises(ExperimentError, match="kind of adapter"):
        experiment_of(said | {"adapter": {"kind": "reft"}}, "here")
    with pytest.raises(ExperimentError, match="epochs is of the type str: 'many'"):
        experiment_of(said | {"adapter": {"epochs": "many"}}, "here")
    with pytest.raises(ExperimentError, match="does not use"):
        experiment_of(said | {"job": "sweep"}, "here")
