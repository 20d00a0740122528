"""Steering by features as a run: its rows give what was measured, and verify reads it."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from steerscope.errors import BadValueError, RunError, SteerscopeError, UnsupportedSiteError
from steerscope.experiments import experiment_of, run_experiment
from steerscope.experiments.inputs import check_inputs
from steerscope.experiments.running import runs_of
from steerscope.judges import MicroworldJudge
from steerscope.report.tables_only import frames_as_plates
from steerscope.runs.results import NOT_FINITE, Run, as_table
from steerscope.sae.files import load_sae, save_sae
from steerscope.sites import Site
from steerscope.studies.features.findings import CONTRASTIVE, is_null, null_name, summarised
from steerscope.studies.features.plan import FeaturePlan
from steerscope.studies.features.run_steering import CLAMPED, run_features
from steerscope.studies.features.stored import (
    overflowed_at,
    rows_of_trials,
    steering_table,
    texts_of_trials,
    trials_of_rows,
)
from steerscope.studies.features.wording import trials_in_words
from steerscope.verification import verify


def planted(n=12):
    rng = np.random.default_rng(0)
    rows = []
    for kl in (0.2, 0.5):
        for method in ("plain", CONTRASTIVE, "features weighted", "random direction 2"):
            if method == "plain" and kl > 0.2:
                continue
            lost = method == "features weighted" and kl > 0.2
            for prompt in range(n):
                shown = math.nan if lost else float(rng.random() < 0.5)
                rows.append(
                    {"kl": math.nan if method == "plain" else kl, "method": method, "kl_nats": kl + 0.001,
                     "dose_natural": 1.5, "prompt": prompt, "status": NOT_FINITE if lost else "ok",
                     "given": f"p{prompt}", "written": "w", "shown": shown, "degenerate": shown / 2}
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_the_rows_of_a_trial_give_the_table_that_the_trial_gives():
    trials = planted()
    table = as_table(rows_of_trials(trials, "mood", Site("resid_post", 3)))
    pd.testing.assert_frame_equal(
        summarised(trials_of_rows(table)), summarised(trials), check_like=True
    )
    assert set(table[table.method == "plain"].layer) == {-1}
    assert set(table[(table.cell == "0.5 nats; features weighted")].status) == {NOT_FINITE}
    texts = pd.DataFrame(texts_of_trials(trials))
    assert set(texts.cell) == set(table.cell)
    again = summarised(trials).set_index(["kl", "method"])
    assert again.loc[(0.2, "random direction 2")].p_holm.isna().all()  # a null is not tested
    assert not is_null("random featuresque")


def wanted(**plan):
    small = {"kls": [0.05], "k": 3, "n_nulls": 2, "n_select": 3, "n_test": 8, "n_new": 6}
    told = {"name": "features", "question": "?", "job": "features", "models": ["microworld"]}
    return experiment_of(
        {**told, "contrasts": ["mood"], "plan": {"autoencoder": "microworld", **small, **plan}},
        "the file",
    )


def test_what_is_measured_is_verified_and_an_autoencoder_that_changed_is_told(
    tmp_path, monkeypatch
):
    run_experiment(wanted(), tmp_path / "out")
    found = verify(tmp_path / "out")
    assert not found.differences
    assert found.n_printed > 40
    [run] = runs_of(wanted(), tmp_path / "out")
    table = steering_table(run)
    assert {*CLAMPED, CONTRASTIVE, "plain", "random direction", "random direction 2"} <= {
        *table.method
    }
    assert sum(map(is_null, table.method.unique())) == 4
    steered = run.table()[lambda t: t.method != "plain"]
    assert steered.kl_nats.between(0.045, 0.055).all()
    assert len(run.texts()) == 8 * steered.cell.nunique() + 8
    assert [p.name for p in (tmp_path / "out" / "figures").glob("*-features_pareto.html")]
    configuration = run.configuration | {"autoencoder_sha256": "0" * 64}
    monkeypatch.setattr(Run, "configuration", configuration)
    assert [d.where for d in check_inputs(run)] == ["autoencoder"]


@pytest.mark.parametrize(
    ("variable", "kept"),
    [("mood", "kept_topic"), ("topic", "kept_mood"), ("topic", "grammatical")],
)
def test_the_figure_of_a_run_shows_what_its_judge_says_is_kept(variable, kept, tmp_path):
    effect = MicroworldJudge(variable, "one", "other").effect
    trials = planted().rename(columns={"shown": effect.metric, "degenerate": kept})
    told = {"kind": "FeaturePlan", "effect": asdict(effect), "site": "resid_post.3", "seed": 0}
    counts = {"k": 3, "n_features": 64, "n_nulls": 1}
    run = Run.start(tmp_path / "run", told | counts, provenance={})
    run.append(rows_of_trials(trials, variable, Site("resid_post", 3)))
    [plate] = frames_as_plates(run)
    table = steering_table(run).set_index(["kl", "method", "metric"])
    shown = 100 * table.value[0.2, CONTRASTIVE, kept]
    assert any(list(trace.y) == [pytest.approx(shown)] for trace in plate.figure.data)


def test_what_another_autoencoder_gave_is_not_printed_as_of_this_one(tmp_path):
    sae = load_sae("microworld")
    folder = tmp_path / "sae"
    save_sae(sae, folder)
    asked = wanted(autoencoder=str(folder), n_nulls=1, n_test=2, n_new=2)
    run_experiment(asked, tmp_path / "out")
    shutil.rmtree(folder)
    save_sae(replace(sae, decoder=sae.decoder.flip(0).clone()), folder)
    with pytest.raises(RunError, match="measured with another content of autoencoder"):
        run_experiment(asked, tmp_path / "out")


def test_at_a_kl_that_the_mean_difference_does_not_reach_nothing_is_tested():
    trials = planted()
    alone = summarised(trials[(trials.method != CONTRASTIVE) | (trials.kl < 0.5)])
    assert alone.p_holm[alone.kl == 0.5].isna().all()
    assert alone.p_holm[alone.kl == 0.2].notna().any()
    none = summarised(trials[trials.method != CONTRASTIVE])
    assert list(none.columns) == list(alone.columns)
    assert none.difference.isna().all()


@pytest.mark.parametrize("kls", [[math.inf], [math.nan], [0.2, 0.2], []])
def test_kls_that_nothing_can_have_are_refused_before_anything_is_measured(kls):
    with pytest.raises(SteerscopeError, match="KLs|kls"):
        wanted(kls=kls)


def test_a_count_that_is_no_whole_number_is_refused_in_one_line():
    with pytest.raises(SteerscopeError, match="k is of the type float"):
        wanted(k=2.5)


def test_a_run_of_features_needs_what_reads_texts_and_its_own_model(tiny_folder, tmp_path):
    plan = FeaturePlan(autoencoder="microworld", judge="preference", n_select=2, n_test=2)
    with pytest.raises(BadValueError, match="told by what is written"):
        run_features(tmp_path / "preference", plan)
    other = FeaturePlan(model=str(tiny_folder("llama")), autoencoder="microworld")
    with pytest.raises(UnsupportedSiteError):
        run_features(tmp_path / "other", other)
    assert not list(tmp_path.iterdir())


def shown(method, values):
    return [
        {"kl": math.nan if method == "plain" else 0.2, "method": method, "kl_nats": 0.2, "dose_natural": 1.0,
         "prompt": i, "status": "ok", "given": "g", "written": "w", "shown": float(v)}
        for i, v in enumerate(values)
    ]  # fmt: skip


def test_a_direction_at_random_is_not_said_to_be_above_the_nulls():
    """All directions are drawn alike, and are told from each other on many prompts."""
    rng, told, n = np.random.default_rng(0), {2: 0, 19: 0}, 150
    for n_nulls in told:
        names = [CONTRASTIVE, *(null_name("random direction", i) for i in range(n_nulls))]
        for _ in range(5):
            rows = shown("plain", [0] * n)
            for name in names:
                rows += shown(name, rng.random(n) < rng.uniform(0, 1))
            table = summarised(pd.DataFrame(rows))
            said = trials_in_words(table, kl=0.2, effect="shown")[-1]
            told[n_nulls] += said.endswith("above the nulls, by rank and after Holm: contrastive")
            by_name = table.set_index("method")
            larger = (by_name.value[names[1:]] >= by_name.value[CONTRASTIVE]).sum()
            assert by_name.p_rank[CONTRASTIVE] == pytest.approx((1 + larger) / (1 + n_nulls))
    assert told[2] == 0
    assert told[19] <= 2


def test_what_is_above_enough_nulls_is_told():
    nulls = [shown(null_name("random features", i), [0, 0, 1] * 8) for i in range(19)]
    trials = [*shown("plain", [0] * 24), *shown(CONTRASTIVE, [1] * 24), *sum(nulls, [])]
    table = summarised(pd.DataFrame(trials))
    assert table.set_index("method").p_rank[CONTRASTIVE] == pytest.approx(1 / 20)
    assert trials_in_words(table, kl=0.2, effect="shown")[-1] == (
        "  19 null directions: shown 33 to 33 %; above the nulls, by rank and after Holm: contrastive"
    )


def test_a_null_of_which_one_prompt_is_known_leaves_p_unknown_in_whatever_place_it_stands():
    n, few = 24, [0] + [math.nan] * 23
    nulls = ([0] * n, few), (few, [0] * n)
    for first, second in nulls:
        trials = [*shown("plain", [0] * n), *shown("features weighted", [1, 0] * 12)]
        trials += [*shown("random direction", first), *shown("random direction 2", second)]
        found = summarised(pd.DataFrame(trials)).set_index("method")
        assert math.isnan(found.p_null["features weighted"])
        assert found.null_max["features weighted"] == 0.0


def test_what_is_ahead_of_every_null_is_told_and_what_is_ahead_of_most_is_not():
    n, half = 24, [1, 0] * 12
    trials = pd.DataFrame(
        [
            *shown("plain", [0] * n),
            *shown(CONTRASTIVE, [1] * n),
            *shown("features weighted", half),
            *shown("random direction", [0] * n),
            *shown("random direction 2", half),  # as good as the features
        ]
    )
    found = summarised(trials).set_index("method")
    assert found.null_max[CONTRASTIVE] == 0.5
    assert found.p_null_holm[CONTRASTIVE] < 0.01
    assert found.p_null["features weighted"] > 0.4
    assert found.p_null[["random direction", "random direction 2"]].isna().all()
    words = trials_in_words(found.reset_index(), kl=0.2, effect="shown")
    assert words[-1] == (
        "  2 null directions: shown 0 to 50 %; ahead of each of them on these prompts after Holm: contrastive, as 1 of 3 "
        "directions at random is too: by rank p >= 0.33, so that it cannot be told whether it is above the nulls (at "
        "least 19 tell)"
    )
    lost = trials.assign(shown=trials.shown.mask(trials.method == "random direction 2"))
    known = summarised(lost).set_index("method")  # what is not known may be the best of them
    assert known.p_null[["features weighted", CONTRASTIVE]].eq(1).all()
    assert known.null_max[CONTRASTIVE] == 0.0
    words = trials_in_words(known.reset_index(), kl=0.2, effect="shown")
    assert words[-1] == (
        "  1 null direction: shown 0 to 0 %; ahead of it on these prompts after Holm: none; 1 more, not known, "
        "counts as at least as good as any"
    )
    unread = trials.assign(shown=trials.shown.mask(trials.method == CONTRASTIVE))
    assert (
        "no text could be read, so"
        in trials_in_words(summarised(unread), kl=0.2, effect="shown")[1]
    )
    alone = summarised(trials[trials.method != CONTRASTIVE])
    assert "does not reach it" in trials_in_words(alone, kl=0.2, effect="shown")[1]


def unknown(trials, method, prompts=range(24), metrics=("shown", "kept")):
    """The trials without the numbers of a method on some prompts."""
    lost = (trials.method == method) & trials.prompt.isin(prompts)
    return trials.assign(**{m: trials[m].mask(lost) for m in metrics})


def beside_contrastive(n=24):
    """Features that show as much as contrastive steering and keep all, where that keeps nothing."""
    shares = {
        "plain": (0, 1),
        CONTRASTIVE: (1, 0),
        "features weighted": (1, 1),
        "random direction": (0, 1),
    }
    return pd.DataFrame(
        {"kl": math.nan if method == "plain" else 0.2, "method": method, "kl_nats": 0.2, "dose_natural": 1.0,
         "prompt": i, "status": "ok", "given": "g", "written": "w", "shown": float(shown), "kept": float(kept)}
        for method, (shown, kept) in shares.items()
        for i in range(n)
    )  # fmt: skip


def features_in_words(trials, **given):
    said = trials_in_words(summarised(trials), kl=0.2, effect="shown", **given)
    assert "nan" not in " ".join(said)
    return said


def test_an_effect_that_is_not_known_is_no_share_and_what_else_is_known_is_told():
    lost = unknown(beside_contrastive(), "features weighted", metrics=["shown"])
    assert features_in_words(lost)[2] == (
        "  features weighted: nothing is known of shown; sure after Holm: kept more "
        "(+100 points [+76, +100])"
    )
    alike = lost.assign(kept=1.0)
    assert features_in_words(alike)[2].endswith("not told apart in anything else")
    [_, first, second, _] = features_in_words(unknown(lost, CONTRASTIVE, metrics=["shown"]))
    assert first.endswith("nothing is compared with it")
    assert second == "  features weighted: nothing is known of shown"


def test_of_one_prompt_there_is_no_interval():
    lost = unknown(beside_contrastive(), "features weighted", range(1, 24))
    assert features_in_words(lost)[2] == (
        "  features weighted: shown 100 % (no interval: 1 prompt), known of 1 of 24 prompts, +0 points "
        "(no interval: 1 prompt); sure after Holm: not told apart in anything"
    )
    apart = unknown(unknown(lost, CONTRASTIVE, [0]), "random direction")
    assert ", no prompt is known of both; sure" in features_in_words(apart)[2]
    assert features_in_words(apart)[-1] == (
        "  of 1 null direction nothing is known, so that nothing is compared with them"
    )


def test_what_overflowed_is_not_said_to_be_unread(tmp_path):
    trials = beside_contrastive()
    lost = unknown(unknown(trials, "features weighted"), CONTRASTIVE)
    gone = lost.shown.isna()
    lost = lost.assign(status=lost.status.mask(gone, NOT_FINITE))
    run = Run.start(tmp_path / "run", {"seed": 0}, provenance={})
    run.append(rows_of_trials(lost, "mood", Site("resid_post", 3)))
    methods = overflowed_at(run, 0.2)
    assert methods == {CONTRASTIVE, "features weighted"}
    assert overflowed_at(run, 0.5) == set()
    [_, contrastive, features, _] = features_in_words(lost, overflowed=methods)
    assert contrastive == (
        "  contrastive: its logits are not finite, so that nothing is compared with it"
    )
    assert features == ("  features weighted: nothing is known, its logits are not finite")


def one_sign_lost(trials, method):
    """The trials of which a method overflowed on the first half of the prompts."""
    lost = unknown(trials, method, range(12))
    return lost.assign(status=lost.status.mask(lost.shown.isna(), NOT_FINITE))


def test_what_overflowed_under_one_sign_is_compared_with_nothing(tmp_path):
    half = one_sign_lost(beside_contrastive(), "features weighted")
    run = Run.start(tmp_path / "run", {"seed": 0}, provenance={})
    run.append(rows_of_trials(half, "mood", Site("resid_post", 3)))
    stored = steering_table(run).set_index("method")
    told = ["difference", "p", "p_holm", "p_null"]
    assert stored.loc["features weighted", told].isna().all(axis=None)
    assert stored.loc[CONTRASTIVE, "p_null"].notna().all()
    said = features_in_words(half, overflowed=overflowed_at(run, 0.2))
    assert said[2] == (
        "  features weighted: shown 100 % [76, 100], known of 12 of 24 prompts: on the others its logits are not "
        "finite, how it compares with any other is not known"
    )
    unread = unknown(half, "features weighted", metrics=["shown"])
    [_, _, features, _] = features_in_words(unread, overflowed=["features weighted"])
    assert features == (
        "  features weighted: nothing is known of shown; how it compares with any other is not known"
    )


@pytest.mark.parametrize("lost", [False, True])
def test_what_overflowed_under_one_sign_is_not_drawn_as_if_the_other_were_all(tmp_path, lost):
    effect = MicroworldJudge("mood", "one", "other").effect
    about = {"kind": "FeaturePlan", "effect": asdict(effect), "site": "resid_post.3", "seed": 0}
    counts = {"k": 2, "n_features": 8, "n_nulls": 1}
    trials = beside_contrastive()
    half = one_sign_lost(trials, "features weighted") if lost else trials
    half = half.rename(columns={"shown": effect.metric, "kept": "kept_topic"})
    run = Run.start(tmp_path / "run", about | counts, provenance={})
    run.append(rows_of_trials(half, "mood", Site("resid_post", 3)))
    [plate] = frames_as_plates(run)
    drawn = {trace.name for trace in plate.figure.data if trace.showlegend}
    assert (CONTRASTIVE in drawn, "features weighted" in drawn) == (True, not lost)
    assert ("overflows" in plate.caption) == lost


def test_nothing_is_compared_with_contrastive_steering_that_overflowed_under_one_sign():
    half = one_sign_lost(beside_contrastive(), CONTRASTIVE)
    assert summarised(half).difference.isna().all()
    [_, contrastive, features, _] = features_in_words(half, overflowed=[CONTRASTIVE])
    assert "known of 12 of 24 prompts: on the others its logits are not finite" in contrastive
    assert contrastive.endswith(", so that nothing is compared with it")
    assert features == "  features weighted: shown 100 % [86, 100]"


def test_a_null_direction_that_overflowed_under_one_sign_counts_as_at_least_as_good():
    trials = beside_contrastive()
    null = trials[trials.method == "random direction"].assign(method="random direction 2")
    half = one_sign_lost(pd.concat([trials, null], ignore_index=True), "random direction 2")
    assert summarised(half).set_index("method").p_null[CONTRASTIVE].eq(1).all()
    said = features_in_words(half, overflowed=["random direction 2"])
    assert said[-1].startswith(
        "  1 null direction: shown 0 to 0 %; ahead of it on these prompts after Holm: none; 1 more"
    )


def test_a_kl_that_nothing_reaches_is_said_to_be_so():
    table = summarised(beside_contrastive())
    assert trials_in_words(table, kl=0.5, effect="shown") == [
        "At 0.5 nats on the select prompts: nothing reaches it, so that nothing is known."
    ]
