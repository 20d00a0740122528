"""A run's direction read through an autoencoder shows in its report, and is absent without one."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from steerscope.errors import AutoencoderMismatchError
from steerscope.report import plates, write_report
from steerscope.report.features import features
from steerscope.sites import Site
from steerscope.studies.features.run_reading import place_of, read_run
from steerscope.studies.steering.measure import run_study
from steerscope.studies.steering.plan import StudyPlan
from tests.sae.dictionaries import small_sae


@pytest.mark.slow
def test_the_reading_of_a_run_is_a_section_of_its_report(tmp_path, microworld):
    plan = StudyPlan(layers=(3,), doses=(1.0,), reference_dose=1.0, n_new=4)
    run = run_study(plan, tmp_path / "run")
    before = write_report(run).read_text()
    assert "reads in features" not in before
    site = Site("resid_post", 3)
    sae = small_sae(d=128, n_features=48, site=site, model=microworld)
    path = read_run(run, microworld, sae, n_null=9)
    assert path == place_of(run, sae)
    stored = json.loads(path.read_text())
    assert stored["n_features"] == 48
    assert len(stored["strongest"]) == 10
    assert {"value", "low", "high", "p"} <= set(stored["statistics"][0])
    page = write_report(run).read_text()
    assert "How the direction reads in features" in page
    assert "features-resid_post.3" in {p.name for p in plates(run)}
    with pytest.raises(AutoencoderMismatchError, match=r"no mean_diff direction at resid_post\.2"):
        read_run(run, microworld, replace(sae, site=Site("resid_post", 2)))


@pytest.mark.parametrize("stored", ["null", "NaN"])
def test_a_number_that_a_reading_lacks_is_not_a_number_on_the_page(tmp_path, stored):
    numbers = f'"value": {stored}, "low": {stored}, "high": 0.5, "p": {stored}'
    one = f'{{"statistic": "read_back", "way": "mean_codes", "null": "random", {numbers}}}'
    curve = f'{{"k": 1, "share": {stored}}}'
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / "resid_post.3.json").write_text(
        f'{{"sae": "made up", "site": "resid_post.3", "n_features": 48, "k": 5, "statistics": [{one}], '
        f'"curve": [{curve}], "strongest": [[3, {stored}]]}}'
    )
    page = features(SimpleNamespace(path=tmp_path))
    assert "3 (-)" in page
    assert "nan" not in page
