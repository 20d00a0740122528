from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from steerscope.directions import find_direction
from steerscope.doses import Dose
from steerscope.engine.gathering import gather
from steerscope.engine.generation import attempt, generate
from steerscope.engine.matched_kl import Matching, matched_doses
from steerscope.engine.sampling import Sample
from steerscope.engine.score import preference
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.experiments.jobs import find_job
from steerscope.judges import choose_judge
from steerscope.judges.scoring import ScoreJudge
from steerscope.runs.keeping import KeptIn
from steerscope.runs.results import Run, as_table
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.studies.methods.findings import COMMON, NULLS, OWN
from steerscope.studies.methods.measure import compare_methods
from steerscope.studies.methods.plan import ComparisonPlan
from steerscope.studies.methods.stored import ranking_of_rows, rows_of_comparison
from steerscope.texts.another import check_another
from steerscope.texts.contrasts import (
    ContrastPair,
    ContrastSet,
    Prompt,
    PromptSet,
    load_contrasts,
    load_prompts,
)
from tests.helpers import rounding
from tests.same_text import hangs_on_rounding

METHODS = ("mean_diff", "pca_uncentred", "whitened")
PLAN = ComparisonPlan(
    methods=METHODS,
    n_null_seeds=2,
    matching=Matching(doses=(0.05, 0.2, 0.5, 2.0), relative=0.5, kl=0.02),
    n_pairs=4,
    n_kl_prompts=2,
    n_test=5,
)
PAIRS = ContrastSet(
    "mood",
    tuple(ContrastPair(f"w{10 + i} w{50 + i} w90", f"w{10 + i} w{50 + i} w91", "mood") for i in range(20)),
)  # fmt: skip
PROMPTS = PromptSet("mood", tuple(Prompt(f"w{10 + i} w{50 + i}") for i in range(12)))
OTHER = ContrastSet(
    "tone",
    tuple(ContrastPair(f"w{10 + i} w{60 + i} w80", f"w{10 + i} w{60 + i} w81", "tone") for i in range(9)),
)  # fmt: skip


@pytest.fixture(scope="module")
def compared(load):
    return compare_methods(load("llama"), PAIRS, PROMPTS, plan=PLAN, other=OTHER)


def test_every_direction_is_screened_at_every_layer_and_both_matchings(compared):
    screen = compared.screen
    n_directions = 3 * (len(METHODS) + 1 + 2 * len(NULLS))  # layers, methods, other concept, nulls
    assert len(screen) == 2 * n_directions
    norm = screen[screen.matching == "norm"]
    assert (norm.dose_relative == 0.5).all()
    at_kl = screen[screen.matching == "kl"].dropna(subset="dose_relative")
    assert len(at_kl) > n_directions / 2
    np.testing.assert_allclose(at_kl.kl_nats, 0.02, rtol=0.02)
    np.testing.assert_array_equal(screen.effect.isna(), screen.dose_relative.isna())


def test_a_concept_is_no_control_for_itself(load):
    itself = replace(PAIRS, name="by another name")
    turned = tuple(replace(p, positive=p.negative, negative=p.positive) for p in PAIRS.pairs)
    for other in (itself, replace(itself, pairs=turned)):
        with pytest.raises(
            BadValueError, match="of by another name, which is to be another concept"
        ):
            compare_methods(load("llama"), PAIRS, PROMPTS, plan=PLAN, other=other)
    shared = replace(PAIRS.pairs[0], concept="tone")
    check_another(PAIRS, replace(OTHER, pairs=(*OTHER.pairs, shared)))  # one by chance


def test_the_doses_agree_in_all_units(load, compared):
    contrasts = gather(load("llama"), PAIRS.split(0).fit, [Site("resid_post", 1)], ["mean_diff"])
    scale = find_direction("mean_diff", contrasts[Site("resid_post", 1)]).scale
    rows = compared.screen[(compared.screen.layer == 1) & (compared.screen.matching == "norm")]
    np.testing.assert_allclose(rows.dose_absolute, 0.5 * scale.relative, rtol=rounding(32, 1.0))
    np.testing.assert_allclose(
        rows.dose_natural, 0.5 * scale.relative / scale.natural, rtol=rounding(32, 1.0)
    )


def test_what_is_stated_is_the_preference_on_pairs_not_used_to_choose(load, compared):
    model, split = load("llama"), PAIRS.split(0)
    own = compared.ranking[(compared.ranking.place == OWN) & (compared.ranking.matching == "norm")]
    stated = own.set_index("method").loc["mean_diff"]
    site = Site("resid_post", int(stated.layer))
    direction = find_direction("mean_diff", gather(model, split.fit, [site], METHODS)[site])
    pairs = [(p.positive, p.negative) for p in split.test.pairs[: PLAN.n_test]]
    up, down = (
        preference(model, pairs, Cell((Steering(direction, Dose(d, "relative")),)))
        for d in (0.5, -0.5)
    )
    assert stated.effect == pytest.approx(float((up - down).mean()) / 2, rel=1e-3)
    assert stated.n == len(set(split.test.groups)) == 1  # all differ in the same word
    assert stated.cosine_to_mean_diff == pytest.approx(1.0, abs=1e-5)
    screened = compared.screen[
        (compared.screen.method == "mean_diff") & (compared.screen.matching == "norm")
    ]
    assert stated.layer == screened.loc[screened.effect.idxmax(), "layer"]


def test_other_test_texts_change_no_dose_and_no_layer(load, compared):
    test = set(PAIRS.split(0).test.pairs)
    changed = ContrastSet(
        "mood",
        tuple(
            replace(p, positive=p.positive.replace("w90", "w3"), negative=f"{p.positive} w4")
            if p in test
            else p
            for p in PAIRS.pairs
        ),
    )
    asked = {p.text for p in PROMPTS.split(0).test.prompts}
    others = PromptSet(
        "mood", tuple(Prompt(f"{p.text} w7") if p.text in asked else p for p in PROMPTS.prompts)
    )
    again = compare_methods(load("llama"), changed, others, plan=PLAN, other=OTHER)
    left, right = (t.screen.drop(columns="direction") for t in (again, compared))
    assert left.equals(right)
    keys = ["place", "matching", "method", "seed", "layer"]
    same = [t.responses[keys].drop_duplicates().reset_index(drop=True) for t in (again, compared)]
    assert same[0].equals(same[1])
    assert not again.responses.effect.equals(compared.responses.effect)


def test_methods_and_nulls_go_through_the_same_stages(compared):
    for place in (OWN, COMMON):
        rows = compared.ranking[(compared.ranking.place == place)]
        for _, part in rows.groupby("matching"):
            assert set(part.method) == {*METHODS, "other_concept", *NULLS}
            assert (part.n_nulls == 2 * len(NULLS)).all()


@pytest.mark.parametrize("stop", ["screen-1", "preferences", "labels"])
def test_an_interrupted_comparison_goes_on_where_it_was(load, compared, tmp_path, stop):
    kept, made = KeptIn(tmp_path), []

    def until(name, make):
        if name == stop:
            raise InterruptedError
        return kept(name, make)

    def counted(name, make):
        return kept(name, lambda: made.append(name) or make())

    with pytest.raises(InterruptedError):
        compare_methods(load("llama"), PAIRS, PROMPTS, plan=PLAN, other=OTHER, keep=until)
    again = compare_methods(load("llama"), PAIRS, PROMPTS, plan=PLAN, other=OTHER, keep=counted)
    order = ["doses", "screen-0", "screen-1", "screen-2", "preferences", "labels"]
    assert made == order[order.index(stop) :]
    for table in ("screen", "responses", "ranking", "pairs"):
        assert getattr(again, table).equals(getattr(compared, table)), table


def test_the_oracle_reads_what_each_condition_writes_alone(microworld):
    contrasts, prompts = load_contrasts("mood"), load_prompts("mood")
    contrasts = replace(contrasts, pairs=contrasts.pairs[:40])
    plan = replace(
        PLAN, methods=("mean_diff", "pca_centred"), layers=(4,), n_null_seeds=1, n_test=6, n_new=16
    )
    found = compare_methods(microworld, contrasts, prompts, plan=plan)
    assert found.effect.metric == "flipped"
    rows = found.responses[
        (found.responses.place == OWN)
        & (found.responses.matching == "norm")
        & (found.responses.method == "mean_diff")
    ].set_index("item")
    site = Site("resid_post", 4)
    direction = find_direction(
        "mean_diff", gather(microworld, contrasts.split(0).fit, [site], ["mean_diff"])[site]
    )
    judge = choose_judge(contrasts, prompts.prompts)
    asked = prompts.split(0).test.prompts[:6]
    assert sorted(rows.index) == list(range(6))
    compared = 0
    for item, prompt in enumerate(asked):
        sign = 1 if prompt.facts["mood"] == "gloomy" else -1
        cell = Cell((Steering(direction, Dose(sign * 0.5, "relative")),))
        sampler = Sample(plan.temperature, plan.seed)
        [[written]] = generate(microworld, [prompt.text], [cell], n_new=16, sampler=sampler)
        if hangs_on_rounding(microworld, (prompt.text, cell), written, sampler):
            continue
        compared += 1
        read = judge.read(prompt, written)
        assert rows.effect[item] == read["flipped"]
        assert rows.kept_topic[item] == read["kept_topic"]
    assert compared >= 3


def test_a_condition_without_numbers_is_left_out_and_the_others_go_on(load, caplog):
    plan = replace(
        PLAN, matching=Matching(doses=(0.05, 0.2, 0.5, 2.0, 1e39), relative=1e39, kl=0.02)
    )
    found = compare_methods(load("llama"), PAIRS, PROMPTS, plan=replace(plan, layers=(1,)))
    assert "under the condition method=mean_diff" in caplog.text
    assert set(found.ranking.matching) == {"kl"}  # nothing is known at the length
    at_length = found.screen[found.screen.matching == "norm"]
    assert at_length.effect.isna().all()
    assert found.screen[found.screen.matching == "kl"].effect.notna().any()


def test_the_cosine_of_two_methods_is_that_of_the_vectors_compared(load, compared):
    [pair] = compared.pairs[
        (compared.pairs.place == COMMON)
        & (compared.pairs.matching == "norm")
        & (compared.pairs[["better", "worse"]].isin(["mean_diff", "whitened"]).all(axis=1))
    ].to_dict("records")
    rows = compared.ranking[
        (compared.ranking.place == COMMON) & (compared.ranking.matching == "norm")
    ].set_index("method")
    assert pair["cosine"] == pytest.approx(
        rows.cosine_to_mean_diff["whitened"], abs=rounding(32, 1.0)
    )
    own = compared.pairs[compared.pairs.place == OWN]
    layer = compared.ranking[compared.ranking.place == OWN].set_index(["matching", "method"]).layer
    for pair in own.itertuples():
        apart = layer[pair.matching, pair.better] != layer[pair.matching, pair.worse]
        assert np.isnan(pair.cosine) == apart


def test_plans_that_make_no_sense_are_refused():
    with pytest.raises(UnknownNameError, match="whitened"):
        ComparisonPlan(methods=("mean_diff", "whitend"))
    with pytest.raises(BadValueError, match="two methods"):
        ComparisonPlan(methods=("mean_diff", "random"))
    with pytest.raises(BadValueError, match="n_test is 0"):
        ComparisonPlan(n_test=0)


class LastWord:
    """The number of the last word."""

    def scores(self, prompts, texts):
        return [float(text.split()[-1].removeprefix("w")) for text in texts]


@pytest.mark.parametrize("gives_scores", [True, False])
def test_a_kl_is_matched_at_the_signs_that_are_judged(load, monkeypatch, gives_scores):
    asked = []

    def noting(*args, signs, **options):
        asked.append(tuple(signs))
        return matched_doses(*args, signs=signs, **options)

    monkeypatch.setattr("steerscope.studies.methods.measure.matched_doses", noting)
    judge = ScoreJudge("last", LastWord(), -1.0, 1, "any") if gives_scores else None
    plan = replace(PLAN, methods=METHODS[:2], n_null_seeds=1)
    compare_methods(load("llama"), PAIRS, PROMPTS, plan=plan, judge=judge)
    assert asked == [(1,) if gives_scores else (1, -1)]


def test_by_a_judge_that_gives_scores_a_text_counts_where_it_is_undamaged_too(
    load, monkeypatch, tmp_path
):
    """Half of the steered texts are made to loop; the judge finds the concept in every text."""

    def looping(*args, **options):
        found = attempt(*args, **options)
        if len(found) == 1:
            return found  # without steering
        return [
            [replace(t, tokens=(t.tokens[0],) * len(t.tokens)) if i % 2 else t
             for i, t in enumerate(row)]
            for row in found
        ]  # fmt: skip

    monkeypatch.setattr("steerscope.studies.methods.bench.attempt", looping)
    judge = ScoreJudge("last", LastWord(), -1.0, 1, "any")
    plan = replace(PLAN, methods=METHODS[:2], n_null_seeds=1, n_new=12)
    found = compare_methods(load("llama"), PAIRS, PROMPTS, plan=plan, judge=judge)
    rows = found.responses
    assert found.effect.metric == "shown_undamaged"
    assert found.effect.judge == "last"
    assert rows.shown.eq(1).all()
    assert rows.effect.equals(rows.undamaged)
    assert rows[rows.item % 2 == 1].effect.eq(0).all()
    assert found.plain.undamaged.mean() > 0.7
    by_method = rows[rows.place == OWN].groupby(["matching", "method"]).effect.mean()
    ranked = found.ranking[found.ranking.place == OWN].set_index(["matching", "method"]).effect
    for key, value in by_method.items():
        assert ranked[key] == pytest.approx(value)
    stored = rows_of_comparison(found, "mood")
    metrics = {row.metric for row in stored}
    assert {"shown", "undamaged", "shown_undamaged"} <= metrics
    again = ranking_of_rows(as_table(stored), "shown_undamaged", plan.seed)["ranking"]
    assert sorted(again.effect) == pytest.approx(sorted(found.ranking.effect))

    runs = []  # one from before, in which damaged texts counted, beside this one
    for name, effect in (("before", judge.effect), ("now", found.effect)):
        said = {"effect": asdict(effect), "model": name, "contrasts": "mood", "seed": 0}
        runs.append(Run.start(tmp_path / name, said, provenance={}))
        runs[-1].append(stored)
    together = find_job("comparison").tables(None, runs)["ranking"]
    assert together.groupby("run").counts.unique().map(list).to_dict() == {
        "before": ["shown"],
        "now": ["shown_undamaged"],
    }
    assert "counts" not in find_job("comparison").tables(None, runs[:1])["ranking"]


def test_pairs_that_say_the_same_are_one_item_in_memory_and_in_the_rows(load):
    def pair(i, name):
        return ContrastPair(f"{name} w{i} w{60 + i}", f"{name} w{i} w{80 + i}", "c")

    pairs = tuple(pair(i, name) for i in range(1, 13) for name in ("w20", "w21", "w22"))
    found = compare_methods(load("llama"), ContrastSet("c", pairs), PROMPTS, plan=PLAN)
    n_items = found.responses["item"].nunique()
    n_distinct = found.responses.group.nunique()
    assert n_distinct < n_items
    assert found.ranking.n.max() == n_distinct
    rows = pd.DataFrame([asdict(row) for row in rows_of_comparison(found, "c")])
    again = ranking_of_rows(rows, "preference", PLAN.seed)
    for name, told in (("ranking", found.ranking), ("rivals", found.pairs)):
        columns = [c for c in again[name] if c in told and c not in ("kl_nats", "layer")]
        told, read = (t[columns].reset_index(drop=True) for t in (told, again[name]))
        pd.testing.assert_frame_equal(told, read)


def test_a_kl_that_no_null_reaches_is_left_out_and_the_length_is_compared(
    load, monkeypatch, caplog
):
    from steerscope.studies.methods import measure

    whole = measure.screen_layers

    def screened(*given, **more):
        found = whole(*given, **more)
        lost = found.method.isin(NULLS) & (found.matching == "kl")
        return found.assign(effect=found.effect.where(~lost))

    monkeypatch.setattr(measure, "screen_layers", screened)
    found = compare_methods(load("llama"), PAIRS, PROMPTS, plan=PLAN)
    assert set(found.ranking.matching) == {"norm"}
    assert "the matched KL is reached by methods or by nulls alone" in caplog.text
