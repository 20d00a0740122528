"""The premise of the eigengap: rows, numbers, sentences, thresholds and the choice of a layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import steerscope as ss
from steerscope.diagnostics import pair_stability
from steerscope.eigengaps.ridge import attention_ridge
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.experiments import experiment_of, run_experiment
from steerscope.experiments.running import runs_of
from steerscope.extraction.activations import extract
from steerscope.figures import ridge_heads
from steerscope.runs.results import NOT_FINITE
from steerscope.sites import Site
from steerscope.studies.predictors.best_layer import choose_layer
from steerscope.studies.predictors.thresholds import judge_threshold, roc_curve
from steerscope.studies.premise.findings import (
    chosen_parts,
    gap_summary,
    head_fits,
    parts_of,
    premise_summary,
)
from steerscope.studies.premise.measure import premise_rows
from steerscope.studies.premise.plan import PremisePlan
from steerscope.studies.premise.wording import premise_in_words
from steerscope.texts.contrasts import Prompt, PromptSet
from steerscope.verification import verify
from tests.studies.test_predictors import noise, table

TEXTS = [f"w{i} w{i + 3} w{i + 7} w{i + 2} w{i + 9}" for i in range(10, 18)]
PLAN = PremisePlan(model="tiny", contrasts="c", n_prompts=8, ridges=(0.1, 1.0), layers=(1, 2))


@pytest.fixture(scope="module")
def rows(load):
    return premise_rows(load("llama"), PromptSet("c", tuple(map(Prompt, TEXTS))), PLAN)


def test_the_rows_give_the_fit_of_every_head_again(load, rows):
    model = load("llama")
    parts = parts_of(rows)
    direct = attention_ridge(model, TEXTS, layers=[1, 2], ridges=[0.1, 1.0])
    keys = ["layer", "head", "kernel", "ridge"]
    sums = parts.groupby(keys)[["left", "spread", "whole"]].sum()
    for row in direct.itertuples():
        left, spread, whole = sums.loc[(row.layer, row.head, row.kernel, row.ridge)]
        assert row.r2 == pytest.approx(1 - left / spread)
        assert row.error == pytest.approx((left / whole) ** 0.5)


def test_the_ridge_is_chosen_on_prompts_that_state_nothing(rows):
    parts = parts_of(rows)
    select, test = (set(parts[parts.split == s].prompt) for s in ("select", "test"))
    assert (select, test) == ({0, 2, 4, 6}, {1, 3, 5, 7})
    spoiled = parts.copy()
    spoiled.loc[spoiled.split == "test", "left"] *= np.random.default_rng(0).uniform(
        0.1, 9, (spoiled.split == "test").sum()
    )
    keys = ["layer", "head", "kernel", "ridge"]
    one, other = (chosen_parts(p)[keys].drop_duplicates() for p in (parts, spoiled))
    assert one.reset_index(drop=True).equals(other.reset_index(drop=True))
    with pytest.raises(BadValueError, match="at least 2"):
        chosen_parts(parts[parts.prompt == 0])


def test_fits_and_their_medians_by_hand(rows):
    parts = parts_of(rows)
    fits = head_fits(parts)
    assert len(fits) == 2 * 4 * 4  # layers, heads, kernels and what stands beside them
    assert (fits.r2_low <= fits.r2 + 1e-9).all()
    assert (fits.r2 <= fits.r2_high + 1e-9).all()
    assert (fits.n_prompts == 4).all()
    mine = chosen_parts(parts).query("layer == 1 and head == 2 and kernel == 'linear'")
    row = fits.query("layer == 1 and head == 2 and kernel == 'linear'").iloc[0]
    assert row.r2 == pytest.approx(1 - mine.left.sum() / mine.spread.sum())
    summary = premise_summary(parts).set_index("kernel")
    linear = fits[fits.kernel == "linear"]
    assert summary.median_r2["linear"] == pytest.approx(linear.r2.median())
    assert summary.share_good["linear"] == pytest.approx((linear.r2 > 0.5).mean())
    said = premise_in_words(premise_summary(parts), gap_summary(rows))
    assert "(exponential kernel, λ chosen on other prompts)" in said[0]
    assert "8 heads" in said[0]
    assert "kernel average" in " ".join(said)
    assert "gap of the attention probabilities" in said[-1]


def test_a_head_that_is_ridge_regression_is_told_and_noise_is_not():
    rng = np.random.default_rng(0)
    keys = pd.MultiIndex.from_product(
        [[0], [0, 1], ["linear"], [0.1, 1.0], range(12)],
        names=["layer", "head", "kernel", "ridge", "prompt"],
    )
    parts = keys.to_frame(index=False)
    exact = (parts["head"] == 0) & (parts.ridge == 0.1)
    parts["spread"] = parts["whole"] = 1.0
    parts["left"] = np.where(exact, 0.0, rng.uniform(0.8, 1.3, len(parts)))
    parts["split"] = np.where(parts.prompt % 2, "test", "select")
    fits = head_fits(parts).set_index("head")
    assert fits.r2[0] == 1
    assert fits.ridge[0] == 0.1
    assert fits.r2_high[1] < 0.3


@pytest.fixture
def planted():
    """Squares of four heads: λ = 0.1 tells the first wholly, and leaves a little more of each other one."""
    keys = pd.MultiIndex.from_product(
        [[0], range(4), ["linear"], [0.1, 1.0], range(12)],
        names=["layer", "head", "kernel", "ridge", "prompt"],
    )
    parts = keys.to_frame(index=False).assign(spread=1.0, whole=1.0)
    parts["left"] = np.where(parts.ridge == 0.1, 0.3, 0.4) * parts["head"]
    return parts.assign(split=np.where(parts.prompt % 2, "test", "select"))


def test_a_ridge_of_which_a_prompt_is_unknown_is_not_chosen(planted):
    for unknown in ([0], [0, 2, 4, 6, 8, 10]):
        lost = (planted["head"] == 1) & (planted.ridge == 0.1) & planted.prompt.isin(unknown)
        fits = head_fits(planted.assign(left=planted.left.mask(lost))).set_index("head")
        assert fits.ridge.tolist() == [0.1, 1.0, 0.1, 0.1]
        assert fits.r2.tolist() == pytest.approx([1.0, 0.6, 0.4, 0.1])


@pytest.mark.parametrize("split", ["select", "test"])
def test_a_head_of_which_nothing_is_known_is_neither_good_nor_bad_and_is_said(planted, split):
    lost = (planted["head"] == 3) & (planted.split == split) & (planted.prompt < 3)
    parts = planted.assign(left=planted.left.mask(lost))
    fits = head_fits(parts).set_index("head")
    told = ["r2", "r2_low", "r2_high", "error", "error_low", "error_high"]
    assert fits.loc[3, told].isna().all()
    assert np.isnan(fits.ridge[3]) == (split == "select")
    assert fits.drop(3).notna().all(axis=None)
    [row] = premise_summary(parts).itertuples()
    assert (row.median_r2, row.share_good) == (pytest.approx(0.7), pytest.approx(2 / 3))
    assert (row.n_heads, row.n_lost) == (3, 1)
    gaps = pd.DataFrame(columns=["gap", "layer"])
    [said] = premise_in_words(premise_summary(parts), gaps)
    assert "67 % of 3 heads lie above R² 0.5 (n = 6 prompts); nothing is known of 1 more." in said
    drawn = ridge_heads(fits.reset_index(), premise_summary(parts))
    assert "Nothing is known of 1 more." in drawn.layout.annotations[-1].text
    none = parts.assign(left=np.nan)
    [row] = premise_summary(none).itertuples()
    assert np.isnan([row.median_r2, row.median_error, row.share_good]).all()
    [said] = premise_in_words(premise_summary(none), gaps)
    assert said == "Of kernel ridge regression (linear kernel) nothing is known at any of 4 heads."
    assert "n_lost" not in premise_summary(planted)


@pytest.fixture
def spoilt(load, monkeypatch):
    """Rows where a component of the first key head of layer 1 is infinite on the second prompt."""
    model, read, passes = load("llama"), type(load("llama")).read, []

    def spoiled(self, tokens, sites):
        found = read(self, tokens, sites)
        passes.append(tokens)
        if len(passes) in (2, 10):  # the second prompt, of the fits and of the gaps
            key = Site("k", 1)
            found[key] = found[key].clone()
            found[key][0, 2, 0] = torch.inf  # of the first key head
        return found

    monkeypatch.setattr(type(model), "read", spoiled)
    found = premise_rows(model, PromptSet("c", tuple(map(Prompt, TEXTS))), PLAN)
    assert len(passes) == 16
    shared = model.shape.n_heads // model.shape.n_key_value_heads
    return found, (found.layer == 1) & (found["head"] < shared), shared


def test_a_head_that_is_not_finite_on_one_prompt_is_unknown_and_its_rows_say_so(spoilt, rows):
    found, mine, shared = spoilt
    lost = found.status == NOT_FINITE
    assert found.value[lost].isna().all()
    assert found.value[~lost].notna().all()
    assert mine[lost].all()
    assert set(found.metric[lost]) == {"left", "key_gap"}
    assert (found.prompt[lost] == 1).all()
    pd.testing.assert_frame_equal(found[~mine], rows[~mine])
    fits = head_fits(parts_of(found))
    unknown = fits[fits.r2.isna()]
    assert set(zip(unknown.layer, unknown["head"], strict=True)) == {(1, h) for h in range(shared)}


def test_gaps_are_means_of_the_heads_that_are_known_and_say_how_many_are_not(spoilt, rows):
    found, mine, shared = spoilt
    gaps = gap_summary(found).set_index(["gap", "layer"])
    whole = gap_summary(rows[~mine]).set_index(["gap", "layer"])
    for at in (("key_gap", -1), ("key_gap", 1)):
        assert gaps.value[at] == pytest.approx(whole.value[at])
        assert gaps.n_lost[at] == shared
    assert gaps.n_lost["key_gap", 2] == 0
    [said] = premise_in_words(premise_summary(parts_of(found)), gap_summary(found))[-1:]
    assert f"({shared} heads are not known and left out) (mean over heads)" in said
    none = gap_summary(found.assign(value=found.value.mask(found.metric == "key_gap")))
    assert none[none.gap == "key_gap"].value.isna().all()
    [said] = premise_in_words(premise_summary(parts_of(found)), none)[-1:]
    assert "that of the keys not known (mean over heads)" in said


def test_the_job_draws_verifies_and_reads_its_own_rows(tiny_folder, words, tmp_path):
    (tmp_path / "texts.txt").write_text(
        "\n".join(f"{text} w{i}" for i, text in enumerate(TEXTS * 3, 30))
    )
    said = {
        "prompts": str(tmp_path / "texts.txt"), "name": "ridge", "question": "Is it?", "job": "premise", "models": [str(tiny_folder("llama"))],
        "contrasts": [str(words)], "sites": {"layers": [1]}, "sample": {"select": 4},
    }  # fmt: skip
    asked = experiment_of(said, "here")
    written = run_experiment(asked, tmp_path / "out")
    assert {p.name for p in written} >= {"heads.csv", "summary.csv", "gaps.csv"}
    [run] = runs_of(asked, tmp_path / "out")
    assert premise_summary(parts_of(run.table())).n_prompts.min() == 2
    assert not verify(tmp_path / "out").differences


def test_a_threshold_by_hand():
    planted = {
        "weakest_gap": lambda c, i: np.array([0.9, 0.5, 0.6, 0.8]),
        "effect_kl": lambda c, i: np.array([0.1, 2.0, 1.5, 0.2]),
    }
    found = judge_threshold(table(planted, 4), n_resamples=100)
    assert (found.auc, found.n_good, found.n) == (1.0, 6, 12)
    assert (found.sensitivity, found.specificity) == (1.0, 1.0)
    assert found.marked == 0.5
    all_marked = judge_threshold(table(planted, 4), threshold=1.0, n_resamples=100)
    assert (all_marked.sensitivity, all_marked.specificity) == (1.0, 0.0)
    assert "marks every layer and selects nothing" in all_marked.words
    curve = roc_curve(table(planted, 4))
    assert list(curve.sensitivity) == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert list(curve.false_positives) == [0.0, 0.0, 0.0, 0.5, 1.0]
    flipped = table(planted, 4).assign(weakest_gap=lambda t: -t.weakest_gap)
    assert judge_threshold(flipped, n_resamples=100).auc == 0.0
    perfect = judge_threshold(flipped, n_resamples=100)
    assert np.isnan([perfect.low, perfect.high]).all()
    assert "0.00 (no interval), p = " in perfect.words
    flat = table(planted, 4).assign(effect_kl=1.0)
    assert "no threshold" in judge_threshold(flat, n_resamples=10).words
    with pytest.raises(BadValueError, match="share 0"):
        judge_threshold(flat, share=0.0)
    with pytest.raises(BadValueError, match="no column"):
        judge_threshold(flat, diagnostic="gap")


def test_a_gap_that_is_noise_is_seldom_called_a_marker():
    called = 0
    for seed in range(20):
        null = table(
            {"weakest_gap": noise(seed, per_concept=False), "effect_kl": noise(seed + 99)}, 8
        )
        null["effect_kl"] = null.effect_kl.abs()
        called += judge_threshold(null, n_resamples=100, seed=seed).p < 0.05
    assert called <= 3


def test_the_layer_is_the_one_whose_pairs_agree_most(microworld):
    mood = ss.load_contrasts("mood")
    found = ss.best_layer(microworld, replace(mood, pairs=mood.pairs[:40]))
    values = found.table.set_index("layer").value
    fit = replace(mood, pairs=mood.pairs[:40]).split(0).fit
    sites = [Site("resid_post", layer) for layer in range(microworld.shape.n_layers)]
    agree = [pair_stability(c).value for c in extract(microworld, fit, sites).values()]
    np.testing.assert_allclose(values, agree, rtol=1e-5)
    assert found.layer == int(np.argmax(agree))
    assert range(microworld.shape.n_layers)[found] == int(found)
    assert "nothing was steered" in str(found)
    gap = choose_layer(found.table.assign(diagnostic="weakest_gap"))
    assert gap.layer == values.idxmin()  # a small gap was said to steer
    sure = choose_layer(found.table.assign(high=found.table.value, low=found.table.value))
    assert sure.sure
    assert not choose_layer(found.table.assign(high=np.inf)).sure
    with pytest.raises(UnknownNameError, match="diagnostic"):
        ss.best_layer(microworld, "mood", by="best")
