"""Methods at several places: how a place is read, what is moved there, and the table as a whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from steerscope.directions import Settings, find_direction
from steerscope.engine.gathering import gather
from steerscope.engine.matched_kl import Matching, at_signs
from steerscope.engine.score import kl_from_plain
from steerscope.errors import (
    BadValueError,
    ExperimentError,
    LeftOutWarning,
    UnknownNameError,
    UnsupportedSiteError,
)
from steerscope.experiments import experiment_of, open_experiment
from steerscope.experiments.running import runs_of
from steerscope.judges.effects import Effect
from steerscope.progress import silent
from steerscope.runs.results import as_table
from steerscope.sites import Site
from steerscope.studies.methods.across import across_places
from steerscope.studies.methods.bundles import SEVERAL, find_bundles
from steerscope.studies.methods.findings import NULLS, OWN, with_company
from steerscope.studies.methods.measure import compare_methods
from steerscope.studies.methods.places import Place, parse_places
from steerscope.studies.methods.plan import ComparisonPlan
from steerscope.studies.methods.stored import ranking_of_rows, rows_of_comparison
from steerscope.studies.methods.wording import across_in_words
from tests.studies.test_comparison import PAIRS, PLAN, PROMPTS
from tests.studies.test_rankings import N, planted

SHARE = Effect("flipped", "share", "continuations whose mood is flipped")
SITES = ("resid_post", "k+up", "v@all", "o.1")
WIDE = replace(
    PLAN,
    sites=SITES,
    matchings=("kl",),
    matching=Matching(doses=(0.05, 0.2, 0.5, 2.0, 8.0), relative=0.5, kl=0.02),
)


@pytest.fixture(scope="module")
def compared(load):
    with pytest.warns(LeftOutWarning, match=r"left out k\.0, v\.0: whitened"):
        return compare_methods(load("llama"), PAIRS, PROMPTS, plan=WIDE)


def test_a_place_is_read_as_it_is_written():
    places = {text: Place.parse(text) for text in ("k", "k + up", "gate@all", "q+v@1-2", "down.3")}
    assert [p.streams for p in places.values()] == [
        ("k",), ("k", "up"), ("gate",), ("q", "v"), ("down",),
    ]  # fmt: skip
    assert places["k"].candidates(3) == [(Site("k", i),) for i in range(3)]
    assert places["k"].candidates(3, [2]) == [(Site("k", 2),)]
    pair = Site("k", 0), Site("mlp_pre_linear", 0)
    assert places["k + up"].candidates(2)[0] == pair
    assert places["gate@all"].candidates(3) == [tuple(Site("mlp_pre", i) for i in range(3))]
    assert places["q+v@1-2"].candidates(9) == [
        (Site("q", 1), Site("v", 1), Site("q", 2), Site("v", 2))
    ]
    assert places["down.3"].candidates(9, [0]) == [(Site("mlp_out", 3),)]


@pytest.mark.parametrize(
    "text", ["", "k+", "k@", "k@2-1", "k@x", "k+k", "up+mlp_pre_linear", "k.x"]
)
def test_a_place_of_no_such_form_is_refused(text):
    with pytest.raises((BadValueError, UnknownNameError)):
        Place.parse(text)


def test_one_place_under_two_names_is_refused():
    with pytest.raises(BadValueError, match="'up' and 'mlp_pre_linear' are the same"):
        parse_places(["k", "up", "mlp_pre_linear"])
    with pytest.raises(UnknownNameError, match="stream"):
        parse_places(["kk"])


def test_a_block_that_the_model_lacks_is_refused(load):
    with pytest.raises(UnsupportedSiteError, match="layers 0 to 2"):
        compare_methods(load("llama"), PAIRS, PROMPTS, plan=replace(WIDE, sites=("k.7",)))


def test_the_residual_stream_as_a_place_is_what_it_is_alone(load, compared):
    alone = compare_methods(load("llama"), PAIRS, PROMPTS, plan=replace(WIDE, sites=()))
    keys = ["method", "seed", "layer", "item"]
    mine = compared.responses[compared.responses.place == "resid_post"].sort_values(keys)
    other = alone.responses[alone.responses.place == OWN].sort_values(keys)
    assert len(mine) == len(other) > 0
    assert (mine[keys].to_numpy() == other[keys].to_numpy()).all()
    np.testing.assert_allclose(mine.effect, other.effect, rtol=1e-3, atol=1e-5)


def test_every_place_has_its_nulls_and_the_matched_kl(load, compared):
    model = load("llama")
    assert set(compared.ranking.place) == set(SITES)
    for _, rows in compared.ranking.groupby("place"):
        assert rows.n_nulls.dropna().min() > 0
        assert not rows.null.all()
    np.testing.assert_allclose(compared.screen.kl_nats.dropna(), 0.02, rtol=0.02)
    with pytest.warns(LeftOutWarning):
        bundles = find_bundles(model, PAIRS.split(0).fit, None, WIDE, silent)
    everywhere = compared.screen[compared.screen.place == "v@all"].dropna(subset="effect").iloc[0]
    moved = bundles[everywhere.direction]
    assert everywhere.layer == moved.layer == SEVERAL
    assert [d.site for d in moved.directions] == [Site("v", 1), Site("v", 2)]
    texts = [p.text for p in PROMPTS.split(0).select.prompts[: WIDE.n_kl_prompts]]
    nats = kl_from_plain(model, texts, at_signs(moved.directions, everywhere.dose_relative))
    assert float(nats.mean()) == pytest.approx(0.02, rel=0.03)
    lengths = [everywhere.dose_relative * d.scale.relative for d in moved.directions]
    assert everywhere.dose_absolute == pytest.approx(float(np.hypot.reduce(lengths)))


def test_the_rows_of_a_run_give_the_same_tables(compared):
    found = ranking_of_rows(as_table(rows_of_comparison(compared, "mood")), "preference", 0)
    keys = ["place", "method"]
    for name in ("ranking", "across"):
        one = found[name].set_index(keys).effect
        other = getattr(compared, name).set_index(keys).effect
        assert set(one.index) == set(other.index)
        np.testing.assert_allclose(one, other.reindex(one.index))


def test_what_other_texts_choose_is_told_from_the_rest_and_from_nulls():
    responses = planted(places=("k", "up"), matchings=("kl",))
    weak = (responses.place == "up") & (responses.method != "good")
    screened = responses.groupby(["place", "matching", "method", "seed"]).effect.mean()
    screened = screened.rename("screened").reset_index()
    screened.loc[(screened.place == "k") & (screened.method == "good"), "screened"] = 2.0
    table = across_places(responses[~weak | responses.method.str.contains("_|random")], screened)
    chosen = table[table.is_chosen].iloc[0]
    assert (chosen.place, chosen.method) == ("k", "good")
    assert chosen.p_null < 0.001
    rest = table.set_index(["place", "method"])
    assert rest.p_corrected["k", "equal"] > 0.05
    assert rest.p_corrected["k", "fair"] < 0.05
    assert rest.difference["k", "fair"] == pytest.approx(chosen.effect - rest.effect["k", "fair"])
    [said, lost] = across_in_words(table, SHARE, ["k", "up", "v"])
    assert "other texts chose good at k" in said
    n_nulls = int(chosen.n_nulls)
    assert (
        n_nulls
        == responses[responses.method.isin(NULLS)].groupby(["place", "method", "seed"]).ngroups
    )
    assert (
        f"each of {n_nulls} null directions of all places, as 1 of {n_nulls + 1} directions" in said
    )
    assert f"n = {N} held-out items" in said
    assert lost.endswith("at any block: v.")


def test_what_other_texts_chose_is_named_where_nothing_is_known_of_it():
    responses = planted(places=("k", "up"), matchings=("kl",))
    screened = responses.groupby(["place", "matching", "method", "seed"]).effect.mean()
    screened = screened.rename("screened").reset_index()
    at_k = screened.place == "k"
    screened.loc[at_k & (screened.method == "good"), "screened"] = 2.0
    screened.loc[at_k & (screened.method == "equal"), "screened"] = 1.5
    of_k = responses.place == "k"
    lost = of_k & (
        (responses.method == "good") | (responses.method.isin(NULLS) & (responses.seed == 0))
    )
    table = across_places(responses.assign(effect=responses.effect.mask(lost)), screened)
    [said] = across_in_words(table, SHARE, ["k", "up"])
    assert said.startswith(
        "matched kl: other texts chose good at k, of which nothing is known here, and of the rest equal at k, "
    )
    n = len(NULLS)
    assert (
        f"not told from the null directions of all places, of {n} of which nothing is known (p = 1)"
        in said
    )
    one = across_places(responses, screened)
    assert "but" not in across_in_words(one, SHARE, ["k", "up"])[0]


def test_a_chosen_place_that_does_nothing_is_not_called_better():
    called = 0
    for seed in range(6):
        nothing = {f"noise_{i}": 0.1 for i in range(4)}
        responses = planted(seed, nothing, places=("k", "up"), matchings=("kl",))
        screened = responses.groupby(["place", "matching", "method", "seed"]).effect.mean()
        rng = np.random.default_rng(seed)
        screened = screened.rename("screened").reset_index()
        screened["screened"] = rng.random(len(screened))  # chosen on other texts
        table = across_places(responses, screened, seed=seed)
        called += bool((table.p_corrected < 0.05).any()) or bool((table.p_null < 0.05).any())
    assert called <= 1


def test_a_place_without_a_null_or_without_a_method_is_left_out():
    chosen = pd.DataFrame(
        {
            "place": ["k", "k", "up", "v"], "matching": "kl",
            "method": ["mean_diff", "random", "mean_diff", "random"],
        }
    )  # fmt: skip
    assert set(with_company(chosen).place) == {"k"}
    with pytest.raises(BadValueError, match="smaller KL"):
        with_company(chosen[chosen.place == "up"])


def test_settings_reach_the_methods_that_have_them(load):
    model, site = load("llama"), Site("resid_post", 1)
    fit = PAIRS.split(0).fit
    plain = gather(model, fit, site, ["fisher_ief", "sspace_mean"])[site]
    strong = find_direction("fisher_ief", plain, settings=Settings(damping=1e4))
    mean = find_direction("gradient_mean", plain)
    assert float(strong.unit @ mean.unit) > 0.999  # much damping gives back the mean gradient
    assert float(find_direction("fisher_ief", plain).unit @ mean.unit) < 0.999
    low = find_direction("sspace_mean", plain, settings=Settings(rank=1))
    assert float(low.unit @ find_direction("sspace_mean", plain).unit) < 0.999
    assert find_direction("mean_diff", plain, settings=Settings(rank=1)).unit.equal(
        find_direction("mean_diff", plain).unit
    )
    asked = Settings(loss="separation", target=1)
    near = gather(model, fit, site, ["gradient_mean"], settings=asked)[site]
    far = gather(model, fit, site, ["gradient_mean"], settings=Settings(loss="separation"))[site]
    one, other = (find_direction("gradient_mean", c).unit for c in (near, far))
    assert float(one @ other) < 0.999


def test_a_setting_that_changes_nothing_is_refused():
    with pytest.raises(BadValueError, match="damping is of the methods fisher_"):
        ComparisonPlan(methods=("mean_diff", "repe"), settings=Settings(damping=1.0))
    with pytest.raises(BadValueError, match="a target block changes nothing"):
        Settings(loss="hinge", target=2)
    with pytest.raises(UnknownNameError, match="loss"):
        Settings(loss="simpo")


def test_a_file_lists_places_and_settings_and_other_jobs_refuse_them():
    said = {
        "name": "places", "question": "Where?", "job": "comparison", "models": ["microworld"],
        "contrasts": ["mood"], "sites": ["resid_post", "k", "up"],
        "methods": ["mean_diff", "fisher_ief"],
        "method_options": {"damping": 0.5, "loss": "tanh"},
    }  # fmt: skip
    asked = experiment_of(said, "here")
    assert asked.sites.places == ("resid_post", "k", "up")
    again = type(asked).model_validate_json(asked.model_dump_json(exclude_unset=True))
    assert again == asked
    with pytest.raises(ExperimentError, match=r"does not use 'sites\.places'"):
        experiment_of(
            {k: v for k, v in said.items() if k != "method_options"} | {"job": "sweep"}, "h"
        )
    options = {"method_options": {"damping": 0.5}, "methods": ["mean_diff", "repe"]}
    with pytest.raises(ExperimentError, match="damping"):
        experiment_of(said | options, "here")
    with pytest.raises(ExperimentError, match="unknown stream"):
        experiment_of(said | {"sites": ["keys"]}, "here")


def test_the_command_compares_places_and_its_tables_verify(run_cli, tiny_folder, words, tmp_path):
    out = tmp_path / "places"
    arguments = [
        "--model", tiny_folder("llama"), "--contrasts", words, "--sites", "resid_post,k+up",
        "--methods", "mean_diff,whitened", "--layers", "1-2", "--kl", "0.02", "--n-pairs", 4,
        "--n-test", 5, "--n-nulls", 1, "--n-new", 2, "--bos", "always", "--out", out, "--json",
    ]  # fmt: skip
    code, said, _ = run_cli("compare", *arguments)
    assert code == 0
    assert '"across"' in said
    assert list(out.glob("figures/*method-places-kl.html"))
    [run] = runs_of(open_experiment(out), out)
    assert run.configuration["bos"] == "always"
    code, said, errors = run_cli("verify", out)
    assert code == 0, (said, errors)
