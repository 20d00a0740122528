"""Methods over several concepts at once: told together what none tells alone, and nothing where there is nothing."""

from __future__ import annotations

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from steerscope.engine.matched_kl import Matching
from steerscope.errors import BadValueError
from steerscope.experiments.jobs import find_job
from steerscope.judges.effects import Effect
from steerscope.runs.results import COLUMNS, Row, Run, plain_row
from steerscope.studies.methods.findings import COMMON, LOST, NULLS, OWN, TOP, rank
from steerscope.studies.methods.plan import ComparisonPlan
from steerscope.studies.methods.pools import pools
from steerscope.studies.methods.together import together

EFFECT = Effect("flipped", "share", "texts that are flipped")


def responses(rng, shares, n=40, seeds=range(4), place="own layer"):
    """What each method and four nulls of each kind gave on n items."""
    rows = []
    for method, share in shares.items():
        for seed in seeds if method in NULLS else (-1,):
            rows += [
                {"place": place, "matching": "kl", "method": method, "seed": seed, "layer": 3,
                 "item": item, "effect": float(rng.random() < share)}
                for item in range(n)
            ]  # fmt: skip
    return pd.DataFrame(rows)


def concepts(rng, good, n_concepts=4, **more):
    shares = {"good": good, "idle": 0.25} | dict.fromkeys(NULLS, 0.25)
    return {f"c{i}": responses(rng, shares, **more) for i in range(n_concepts)}


def test_what_no_concept_tells_alone_all_tell_together():
    given = concepts(np.random.default_rng(1), good=0.42, n_concepts=8)
    alone = [rank(part).set_index("method").p_holm["good"] for part in given.values()]
    assert min(alone) > 0.05
    ranking, pairs = together(given)
    found = ranking.set_index("method")
    assert (found.standing["good"], found.standing["idle"]) == (TOP, LOST)
    assert found.n["good"] == 320
    by_hand = np.mean([part[part.method == "good"].effect.mean() for part in given.values()])
    assert found.effect["good"] == pytest.approx(by_hand)
    assert pairs.difference.iloc[0] == pytest.approx(found.effect["good"] - found.effect["idle"])


def test_a_method_that_is_a_null_is_rarely_told_together():
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(40):
        given = concepts(rng, good=0.25, n_concepts=3, n=20)
        for part in given.values():  # directions differ from one another, as real ones do
            for _, rows in part.groupby(["method", "seed"]):
                share = rng.uniform(0.05, 0.5)
                part.loc[rows.index, "effect"] = (rng.random(len(rows)) < share).astype(float)
        told += (together(given)[0].p_holm < 0.05).sum()
    assert told <= 4  # of 80; one in twenty would be as many, and beating twelve nulls is rarer


def test_nulls_of_another_draw_of_seeds_go_together_and_what_a_concept_lacks_is_left_out():
    rng = np.random.default_rng(0)
    given = concepts(rng, good=0.5, n_concepts=1) | {
        "other": concepts(rng, good=0.5, n_concepts=1, seeds=range(1, 5))["c0"]
    }
    given["other"].loc[given["other"].method == "idle", "effect"] = np.nan
    extra = responses(rng, {"new": 0.9})
    given["other"] = pd.concat(
        [given["other"], extra, responses(rng, {"good": 0.5}, place="elsewhere")]
    )
    with_third = {**given, "c0": pd.concat([given["c0"], responses(rng, {"third": 0.3})])}
    ranking, pairs = together(with_third)
    assert ranking.empty  # one method alone is left
    assert pairs.empty
    given["other"].loc[given["other"].method == "idle", "effect"] = 0.0
    ranking, _ = together(given)
    assert set(ranking.place) == {"own layer"}
    assert set(ranking.method) == {"good", "idle", *NULLS}
    assert ranking.n_nulls.dropna().eq(12).all()


def test_a_method_that_a_concept_lacks_is_left_out_though_the_concepts_share_their_prompts():
    rng = np.random.default_rng(0)
    easy = {"good": 0.9, "idle": 0.9, "lacking": 0.9} | dict.fromkeys(NULLS, 0.5)
    hard = {"good": 0.1, "idle": 0.1} | dict.fromkeys(NULLS, 0.1)
    given = {"easy": responses(rng, easy), "hard": responses(rng, hard)}
    given = {
        k: rows.assign(prompt=rows["item"].map("prompt {}".format)) for k, rows in given.items()
    }
    ranking, _ = together(given)
    assert set(ranking.method) == {"good", "idle", *NULLS}
    assert ranking.n.eq(40).all()


def stored(folder, model, concept, rng, kl=0.2):
    """A run of two methods and the nulls on one concept."""
    matching = Matching((0.05, 0.2, 0.5), relative=0.5, kl=kl)
    plan = asdict(ComparisonPlan(methods=("mean_diff", "repe"), matching=matching))
    shares = {"mean_diff": 0.9, "repe": 0.5} | dict.fromkeys(NULLS, 0.1)
    said = {"effect": asdict(EFFECT), "model": model, "contrasts": concept, "seed": 0, "plan": plan}
    run = Run.start(folder, said, provenance={})
    given = pd.concat([responses(rng, shares, place=p) for p in (OWN, COMMON)])
    given = pd.concat([given, given.assign(matching="norm")])
    run.append(
        [
            replace(
                plain_row("flipped", "share", r.effect), prompt=r.item, method=r.method, seed=r.seed,
                cell=f"{r.place}; {r.matching}; {r.method}; {r.seed}", layer=r.layer, kl_nats=kl,
                dose_absolute=1.0, dose_relative=0.1, dose_natural=1.0,
            )
            for r in given.itertuples()
        ]
    )  # fmt: skip
    return run


def test_two_concepts_are_printed_one_by_one_and_together(tmp_path):
    rng = np.random.default_rng(0)
    runs = [stored(tmp_path / c, "m", c, rng) for c in ("mood", "tone")]
    job, wanted = find_job("comparison"), SimpleNamespace(figures=("all",))
    tables = job.tables(wanted, runs)
    assert set(tables) == {"ranking", "rivals", "together", "together_rivals", "agreement"}
    pooled = tables["together"].set_index(["place", "matching", "method"])
    assert pooled.n.eq(80).all()
    assert pooled.concepts.eq("mood, tone").all()
    assert pooled.kl_nats.eq(0.2).all()
    alone = tables["ranking"].groupby(["place", "matching", "method"]).effect.mean()
    assert pooled.effect[OWN, "kl", "repe"] == pytest.approx(alone[OWN, "kl", "repe"])
    names = [plate.name for plate in job.plates(wanted, runs)]
    assert names == [
        f"{whose}-{name}"
        for whose in ("mood", "tone", "m-0-together")
        for name in ("methods", "methods-common-layer")
    ]
    assert [p.name for p in job.plates(wanted, runs[:1])] == names[:2]


def test_models_of_one_name_are_drawn_apart(tmp_path):
    rng = np.random.default_rng(0)
    runs = [
        stored(tmp_path / f"{i}-{c}", f"{i}/m", c, rng)
        for i in ("a", "b")
        for c in ("mood", "tone")
    ]
    names = [
        p.name for p in find_job("comparison").plates(SimpleNamespace(figures=("methods",)), runs)
    ]
    assert names[-2:] == ["m-0-together-methods", "m-2-0-together-methods"]


def test_a_prompt_that_two_concepts_share_is_one_item():
    rng = np.random.default_rng(0)
    given = concepts(rng, good=0.5, n_concepts=2)
    told = {
        name: part.assign(prompt=[f"p{i}" for i in part["item"]]) for name, part in given.items()
    }
    ranking, _ = together(told)
    found = ranking.set_index("method")
    assert found.n["good"] == 40
    both = [part[part.method == "good"].effect.to_numpy() for part in given.values()]
    assert found.effect["good"] == pytest.approx(np.mean(both))
    assert together(given)[0].n.eq(80).all()


def test_what_is_left_of_a_place_or_matching_is_drawn_and_nats_are_not_pooled(tmp_path):
    rng = np.random.default_rng(0)
    whole, cut = (stored(tmp_path / c, "m", c, rng) for c in ("mood", "tone"))
    table = cut.table()
    kept = table[(table.method != "repe") | ~table.cell.str.contains("common layer|norm")]
    less = Run.start(tmp_path / "less", cut.configuration, provenance={})
    less.append([Row(**r) for r in kept[list(COLUMNS)].to_dict("records")])
    names = [
        p.name
        for p in find_job("comparison").plates(SimpleNamespace(figures=("all",)), [whole, less])
    ]
    assert names[-1] == "m-0-together-methods"
    assert "m-0-together-methods-common-layer" not in names
    nats = [
        Run.start(tmp_path / f"n{c}", {**cut.configuration, "contrasts": c, "effect": asdict(
            Effect("preference", "nats", "preference"))}, provenance={})
        for c in ("mood", "tone")
    ]  # fmt: skip
    for run in nats:
        run.append(
            [Row(**{**r, "metric": "preference"}) for r in table[list(COLUMNS)].to_dict("records")]
        )
    assert "together" not in find_job("comparison").tables(None, nats)


def test_runs_at_another_kl_are_another_pool_and_one_contrast_set_does_not_count_twice(tmp_path):
    rng = np.random.default_rng(0)
    runs = [
        stored(tmp_path / f"{c}{kl}", "m", c, rng, kl)
        for kl in (0.2, 0.6)
        for c in ("mood", "tone")
    ]
    found = pools(runs)
    assert [pool.concepts for pool in found] == [("mood", "tone")] * 2
    for pool, kl in zip(found, (0.2, 0.6), strict=True):
        assert pool.plan["matching"]["kl"] == kl
        assert pool.ranking.kl_nats.dropna().eq(kl).all()
        assert pool.ranking.n.dropna().eq(80).all()
    assert pools([runs[0], runs[3]]) == []  # at one KL each
    tables = find_job("comparison").tables(SimpleNamespace(figures=("all",)), runs)
    assert set(tables["together"].runs) == {"m-0", "m-0-2"}
    again = stored(tmp_path / "again", "m", "mood", rng)
    with pytest.raises(BadValueError, match="both of mood"):
        pools([*runs, again])
