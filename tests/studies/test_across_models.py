"""Over models: each is one draw, however many layers and concepts it has."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from steerscope.errors import BadValueError
from steerscope.experiments import parse_experiment
from steerscope.experiments.jobs import find_job
from steerscope.experiments.jobs.predictors import OUTCOMES, rows_of_layers
from steerscope.runs.results import Run
from steerscope.statistics import power_of
from steerscope.studies.predictors.across_models import (
    across_models,
    power_across_models,
    rho_by_model,
)
from steerscope.studies.predictors.findings import leave_one_model_out


def models(n, n_layers=6, concepts=("a", "b"), seed=0, rho=0.0, likeness=0.0):
    """Models whose layers are ranked by noise, of which a share is that of the outcome.

    Neighbouring layers correlate by `likeness` on either side.
    """
    rng, parts = np.random.default_rng(seed), []
    for model in range(n):
        y, noise = rng.normal(size=(2, n_layers))
        for curve in (y, noise):
            for i in range(1, n_layers):
                curve[i] = likeness * curve[i - 1] + np.sqrt(1 - likeness**2) * curve[i]
        x = rho * y + np.sqrt(1 - rho**2) * noise
        for concept in concepts:  # the layers of a model are alike under its concepts
            parts.append(
                pd.DataFrame({"model": f"m{model}", "concept": concept, "layer": range(n_layers),
                              "x": x, "y": y, "flat": 1.0})
            )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_rho_of_a_model_is_spearmans_over_its_layers():
    table = models(3, concepts=("a",))
    found = rho_by_model(table, "x", "y")
    for name, part in table.groupby("model"):
        assert found[name] == pytest.approx(stats.spearmanr(part.x, part.y).statistic)


def test_the_mean_over_models_is_students():
    table = models(12, rho=0.3, seed=2)
    each = rho_by_model(table, "x", "y")
    [row] = across_models(table, ["x"], "y").to_dict("records")
    half = stats.t.ppf(0.975, 11) * each.std(ddof=1) / np.sqrt(12)
    assert row["rho"] == pytest.approx(each.mean())
    assert (row["low"], row["high"]) == pytest.approx((each.mean() - half, each.mean() + half))
    assert row["p"] == row["p_holm"] == pytest.approx(stats.ttest_1samp(each, 0).pvalue)
    assert row["n_models"] == 12
    assert row["p"] > 2 / 2**12
    assert row["positive"] == (each > 0).mean()


def test_a_diagnostic_that_does_not_vary_has_no_rho():
    found = across_models(models(4), ["flat", "x"], "y").set_index("diagnostic")
    assert found.loc["flat", ["rho", "low", "p"]].isna().all()
    assert found.n_models["flat"] == 0
    assert found.index[0] == "x"


def test_models_that_agree_wholly_give_no_certainty():
    parts = [
        pd.DataFrame({"model": f"m{n}", "concept": "a", "layer": range(n), "x": range(n), "y": range(n)})
        for n in (3, 4, 5, 6)
    ]  # fmt: skip
    alike = pd.concat(parts, ignore_index=True).astype({"x": float, "y": float})
    found = across_models(alike, ["x"], "y").iloc[0]
    assert found.rho == pytest.approx(1.0)
    assert np.isnan([found.p, found.low, found.high]).all()
    nearly = alike.copy()
    nearly.loc[nearly.model == "m6", "x"] = [0.0, 1.0, 2.0, 3.0, 5.0, 4.0]
    assert across_models(nearly, ["x"], "y").p[0] == 2 / 2**4  # of four models, one sign
    assert power_across_models(models(4), "y", 0.9) == 0.0
    flat = alike.assign(y=1.0)
    assert leave_one_model_out(flat, ["x"], "y").empty


def test_two_concepts_of_one_model_are_no_two_models():
    one, two = (across_models(models(6, concepts=c), ["x"], "y") for c in (("a",), ("a", "b")))
    pd.testing.assert_frame_equal(one, two)
    with pytest.raises(BadValueError, match="2 models; a mean over models needs at least 3"):
        across_models(models(2), ["x"], "y")


def test_without_any_correlation_one_table_in_twenty_is_below_five_hundredths():
    p = [across_models(models(6, seed=s), ["x"], "y").p[0] for s in range(300)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 300))


def test_the_power_that_is_stated_is_the_share_of_tables_that_tell():
    stated = power_across_models(models(12), "y", 0.5)
    told = [across_models(models(12, seed=s, rho=0.5), ["x"], "y").p[0] < 0.05 for s in range(200)]
    assert np.mean(told) == pytest.approx(stated, abs=0.1)
    assert power_across_models(models(12), "y", 0.5, 17) < stated
    assert stated < power_across_models(models(24), "y", 0.5)
    with pytest.raises(BadValueError, match="two models"):
        power_across_models(models(3), "flat", 0.5)


def test_layers_that_are_alike_to_their_neighbours_have_less_power():
    """Of four layers every order keeps neighbours, and the spread is 1 / √(layers - 1); of 16 alike it is wider."""
    four = power_across_models(models(9, 4), "y", 0.5)
    assert four == pytest.approx(power_of(0.5, 1 / np.sqrt(3), 9))
    alike = {"n_layers": 16, "concepts": ("a",), "likeness": 0.8}
    stated = power_across_models(models(8, **alike), "y", 0.3)
    told = [across_models(models(8, seed=s, rho=0.3, **alike), ["x"], "y").p[0] for s in range(200)]
    assert np.mean(np.array(told) < 0.05) == pytest.approx(stated, abs=0.15)
    assert stated < 0.65 < 0.8 < power_of(0.3, 1 / np.sqrt(15), 8)


def test_an_experiment_of_three_models_has_the_tables_over_them(tmp_path):
    asked = parse_experiment(
        "name: w\nquestion: Who predicts?\njob: predictors\nmodels: [a, b, c]\ncontrasts: [mood]\n",
        "f",
    )
    job, runs = find_job("predictors"), []
    for step, seed in zip(job.steps(asked), range(3), strict=True):
        rng = np.random.default_rng(seed)
        layers = pd.DataFrame(
            rng.normal(size=(6, 4)), columns=["gradient", "norm", *OUTCOMES]
        ).assign(depth=range(6))
        rows = rows_of_layers(layers.assign(model="x", concept="mood", layer=range(6)))
        runs.append(Run.start(tmp_path / step.name, step.settings, provenance={}))
        runs[-1].append(rows)
    tables = job.tables(asked, runs)
    for outcome in OUTCOMES:
        assert tables[f"models-{outcome}"].n_models.tolist() == [3]
        assert set(tables[f"left-out-{outcome}"].model) == {"a", "b", "c"}
    assert not any(name.startswith(("models", "left-out")) for name in job.tables(asked, runs[:2]))


def test_the_model_left_out_teaches_nothing():
    table = models(4, seed=3)
    wrong = table.model == "m3"
    table["x"] = table.y.where(~wrong, -table.y)
    found = leave_one_model_out(table, ["x"], "y").set_index(["model", "concept"])
    assert found.rho_of_others["m3"].to_numpy() == pytest.approx(1.0)
    assert (found.regret["m3"] > 0).all()
    with pytest.raises(BadValueError, match="leaving one model out needs at least 2 models"):
        leave_one_model_out(models(1), ["x"], "y")
