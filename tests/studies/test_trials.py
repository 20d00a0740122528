"""Directions against each other at a matched KL: paired, corrected, and named in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from steerscope.directions import mean_diff
from steerscope.doses import Dose
from steerscope.engine.generation import attempt
from steerscope.errors import AutoencoderMismatchError, BadValueError, UnknownNameError
from steerscope.extraction.activations import extract
from steerscope.judges import choose_judge
from steerscope.judges.effects import Effect
from steerscope.judges.scoring import ScoreJudge
from steerscope.sae.reading import mean_code_difference
from steerscope.sae.steering import clamped
from steerscope.sites import Site
from steerscope.steering.interventions import Steering
from steerscope.studies.features.candidates import candidates
from steerscope.studies.features.findings import CONTRASTIVE, summarised
from steerscope.studies.features.measure import run_trials
from steerscope.studies.features.plan import TrialPlan
from steerscope.studies.features.sources import SOURCES, concept_sets, settings_within
from steerscope.studies.features.wording import trials_in_words
from steerscope.texts.contrasts import ContrastSet, Prompt, load_contrasts, load_prompts
from tests.helpers import random_direction
from tests.sae.dictionaries import small_sae

SITE = Site("resid_post", 3)


def some(n: int) -> ContrastSet:
    whole = load_contrasts("mood")
    return ContrastSet(whole.name, whole.pairs[:n])


def test_every_candidate_is_a_direction_at_the_site_and_steers_at_the_same_kl(microworld):
    fit = some(8)
    contrast = extract(microworld, fit, [SITE])[SITE]
    # one decoder row is the truth, so that features can find it
    rows = small_sae(d=128, n_features=64, site=SITE).decoder.clone()
    rows[5] = mean_diff(contrast).unit
    sae = small_sae(rows=rows, site=SITE, model=microworld)
    found = candidates(microworld, sae, contrast, fit, k=3)
    assert len({d.method for d in found.values()}) == len(found) == 7
    assert all(d.scale == found[CONTRASTIVE].scale for d in found.values())
    assert int(mean_code_difference(sae, contrast).abs().argmax()) == 5
    assert float(found["feature single"].unit @ found[CONTRASTIVE].unit) > 0.99
    prompts = load_prompts("mood").split(0)
    judge = choose_judge(fit, prompts.test.prompts)
    chosen = {name: found[name] for name in (CONTRASTIVE, "feature single", "random direction")}
    plan = TrialPlan(kls=(0.2,), n_select=2, n_test=8, n_new=6)
    edits = {"features clamped": clamped(sae, mean_code_difference(sae, contrast), k=2)}
    trials = run_trials(
        microworld,
        chosen,
        judge,
        prompts.select.prompts,
        prompts.test.prompts,
        edits=edits,
        plan=plan,
    )
    assert set(trials.method) == {*chosen, *edits, "plain"}
    assert trials.groupby("method").prompt.nunique().eq(8).all()
    steered = trials[trials.method != "plain"]
    assert steered.kl_nats.between(0.19, 0.21).all()
    with pytest.raises(BadValueError, match="nothing reaches"):
        run_trials(
            microworld,
            {CONTRASTIVE: found[CONTRASTIVE]},
            judge,
            prompts.select.prompts,
            prompts.test.prompts,
            edits=edits,
            plan=TrialPlan(kls=(1e6,), n_select=1),
        )


def test_clamped_features_are_those_of_one_class_and_none_of_the_other():
    sae = small_sae(d=16, n_features=4)
    codes = torch.tensor([3.0, -2.0, 0.5, 0.0])
    edit = clamped(sae, codes, k=2)
    assert [str(e) for e in edit(1, 2.0).edits] == ["0=6", "1=0"]
    assert [str(e) for e in edit(-1, 0.5).edits] == ["0=0", "1=1"]
    with pytest.raises(BadValueError, match="has 4 features"):
        clamped(sae, codes, k=5)


class LastToken:
    effect, world = Effect("last", "share", "last"), ""

    def applies(self, prompt, sign):
        return True

    def read(self, prompt, continuation):
        return {"last": float(sum(continuation.tokens[-1:]))}


def test_a_condition_without_numbers_is_named_in_its_rows_and_the_others_go_on(
    tiny, monkeypatch, caplog
):
    made = [random_direction(tiny, Site("resid_post", 1), seed=i) for i in range(2)]
    directions = {CONTRASTIVE: made[0], "features weighted": made[1]}

    def broken(sign, size):
        return Steering(made[0], Dose(sign * 1e41 * size, "absolute"))

    def overflowing(*args, **options):
        plain, *others, last = attempt(*args, **options)
        return [plain, *others, [replace(text, finite=False) for text in last]]

    monkeypatch.setattr("steerscope.studies.features.measure.attempt", overflowing)
    prompts = [Prompt("w5 w6"), Prompt("w7 w8 w9")]
    plan = TrialPlan(kls=(0.02,), n_select=2, n_test=2, n_new=2)
    edits = {"broken": broken}
    trials = run_trials(tiny, directions, LastToken(), prompts, prompts, edits=edits, plan=plan)
    lost = trials[trials.method == "features weighted"]
    assert set(lost.status) == {"not_finite"}
    assert lost["last"].isna().all()
    others = trials[trials.method != "features weighted"]
    assert set(others.method) == {"plain", CONTRASTIVE}
    assert set(others.status) == {"ok"}
    assert others["last"].notna().all()
    assert "features weighted towards at 0.02 nats" in caplog.text
    assert "broken: the KL is nan" in caplog.text
    table = summarised(trials.drop_duplicates(["method", "prompt"]))
    said = trials_in_words(table, kl=0.02, effect="last", overflowed=set(lost.method))
    assert "  features weighted: nothing is known, its logits are not finite" in said


def test_a_blank_text_shows_nothing_and_keeps_nothing_and_counts_among_the_prompts(
    microworld, monkeypatch
):
    def silent(*args, **options):
        plain, steered = attempt(*args, **options)
        return [plain, [replace(text, tokens=(), text=" ") for text in steered]]

    monkeypatch.setattr("steerscope.studies.features.measure.attempt", silent)
    prompts, fit = load_prompts("mood").split(0), some(8)
    judge = choose_judge(fit, prompts.test.prompts)
    directions = {CONTRASTIVE: mean_diff(extract(microworld, fit, [SITE])[SITE])}
    trials = run_trials(
        microworld, directions, judge, prompts.select.prompts, prompts.test.prompts,
        plan=TrialPlan(kls=(0.05,), n_select=2, n_test=8, n_new=6),
    )  # fmt: skip
    blank = trials[trials.method == CONTRASTIVE]
    assert len(blank) == 8
    assert blank.flipped.eq(0).all()
    assert blank.kept_topic.eq(0).all()
    said = trials_in_words(summarised(trials), kl=0.05, effect="flipped")
    assert f"  {CONTRASTIVE}: flipped 0 % [0, 32]" in said


def test_a_share_over_fewer_prompts_than_were_asked_says_over_how_many():
    trials = made_up(0.6)
    features, unread = trials.method == "features weighted", trials.prompt >= 10
    trials.loc[features & unread, "flipped"] = np.nan
    null = trials[features].assign(method="random direction", flipped=0.0)
    nulls = [null, null.assign(method="random direction 2", flipped=np.nan)]
    trials = pd.concat([trials, *nulls])
    said = trials_in_words(summarised(trials), kl=0.2, effect="flipped")
    assert "60 held-out prompts" in said[0]
    assert "of 60" not in said[1]
    assert "known of 10 of 60 prompts" in said[2]
    assert said[3].startswith("  1 null direction: flipped 0 to 0 %; ahead of it on these prompts")
    assert said[3].endswith(
        "after Holm: none; 1 more, not known, counts as at least as good as any"
    )


class LastWord:
    """The number of the last word."""

    def scores(self, prompts, texts):
        return [float(text.split()[-1].removeprefix("w")) for text in texts]


def test_of_a_judge_that_gives_scores_a_text_counts_where_it_is_undamaged_too(tiny, monkeypatch):
    made = random_direction(tiny, Site("resid_post", 1))
    prompts = [Prompt(f"w{i} w6") for i in range(4)]

    def looping(*args, **options):
        plain, steered = attempt(*args, **options)
        again = [replace(t, tokens=(t.tokens[0],) * len(t.tokens)) for t in steered[:2]]
        return [plain, [*again, *steered[2:]]]

    monkeypatch.setattr("steerscope.studies.features.measure.attempt", looping)
    judge = ScoreJudge("last", LastWord(), -1.0, 1, "any")
    plan = TrialPlan(kls=(0.02,), n_select=2, n_test=4, n_new=10)
    trials = run_trials(tiny, {CONTRASTIVE: made}, judge, prompts, prompts, plan=plan)
    steered = trials[trials.method == CONTRASTIVE].sort_values("prompt")
    assert steered.shown.eq(1).all()
    assert steered.undamaged.tolist()[:2] == [0, 0]
    assert steered.shown_undamaged.equals(steered.undamaged)
    metrics = set(summarised(trials).metric)
    assert metrics == {"undamaged", "shown_undamaged"}


def made_up(gain: float) -> pd.DataFrame:
    """Trials of 60 prompts in which features flip a share `gain` more than the mean difference."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in range(60):
        base = float(rng.random() < 0.4)
        more = float(base or rng.random() < gain)
        for method, flipped in (("plain", 0.0), (CONTRASTIVE, base), ("features weighted", more)):
            kl = np.nan if method == "plain" else 0.2
            rows.append({"kl": kl, "method": method, "kl_nats": 0.2, "dose_natural": 1.0,
                         "prompt": prompt, "flipped": flipped, "kept_topic": 1.0})  # fmt: skip
    return pd.DataFrame(rows)


def test_a_gain_is_told_with_its_interval_and_none_is_claimed_where_there_is_none():
    table = summarised(made_up(0.6))
    row = table[(table.method == "features weighted") & (table.metric == "flipped")].iloc[0]
    trials = made_up(0.6).pivot(index="prompt", columns="method", values="flipped")
    assert row.value == pytest.approx(trials["features weighted"].mean())
    assert row.difference == pytest.approx(
        (trials["features weighted"] - trials[CONTRASTIVE]).mean()
    )
    assert row.difference_low > 0
    assert row.p_holm < 0.05
    said = "\n".join(trials_in_words(table, kl=0.2, effect="flipped"))
    assert "60 held-out prompts (without steering flipped 0 %" in said
    assert "flipped more" in said
    none = "\n".join(trials_in_words(summarised(made_up(0.0)), kl=0.2, effect="flipped"))
    assert "not told apart in anything" in none


def test_the_plan_refuses_what_cannot_be_tried():
    for changes in ({"kls": ()}, {"kls": (0.0,)}, {"k": 0}, {"n_test": 0}):
        with pytest.raises(BadValueError):
            TrialPlan(**changes)


def test_every_route_gives_features_and_an_unknown_one_is_refused(microworld):
    sae = small_sae(d=128, n_features=64, site=SITE, model=microworld)
    sets = concept_sets(microworld, sae, some(6), 5)
    assert list(sets) == list(SOURCES)
    assert all(len(s.ranked) == 5 for s in sets.values())
    settings = settings_within(sets, {"layer": 3})
    assert len(settings) == 10
    assert settings[0][0] == {"layer": 3, "pair": "codes | decoder"}
    with pytest.raises(UnknownNameError, match="codes, decoder"):
        concept_sets(microworld, sae, some(6), 5, sources=["labels"])
    with pytest.raises(AutoencoderMismatchError):
        concept_sets(microworld, small_sae(d=16, site=SITE), some(6), 5)
