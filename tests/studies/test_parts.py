"""The parts of a contrast set keep to their work: what a study finds comes from the fit part alone."""

from __future__ import annotations

import torch

from steerscope.directions import load_directions, mean_diff
from steerscope.extraction.activations import extract
from steerscope.sites import Site
from steerscope.studies.steering.measure import run_study
from steerscope.studies.steering.plan import StudyPlan
from steerscope.texts.contrasts import load_contrasts


def test_the_directions_of_a_study_are_those_of_the_fit_pairs_and_of_no_others(
    load, tiny_folder, words, tmp_path
):
    plan = StudyPlan(
        model=str(tiny_folder("llama")), contrasts=str(words), doses=(1.0,), reference_dose=1.0,
        n_new=2, max_select=2, max_test=2, nulls=0, n_controls=1, n_sweep_controls=0, seed=3,
    )  # fmt: skip
    run = run_study(plan, tmp_path / "run")
    stored = load_directions(run.path / "directions.safetensors")
    found = {d.site: d.unit for d in stored if d.method == "mean_diff"}
    model, parts = load("llama"), load_contrasts(str(words)).split(plan.seed)
    assert list(found) == [Site("resid_post", layer) for layer in range(3)]
    for site, unit in found.items():
        fit, select, test = (
            mean_diff(extract(model, part, site)[site]).unit
            for part in (parts.fit, parts.select, parts.test)
        )
        torch.testing.assert_close(unit, fit, atol=1e-5, rtol=0)
        assert float((unit - select).norm()) > 0.01
        assert float((unit - test).norm()) > 0.01
