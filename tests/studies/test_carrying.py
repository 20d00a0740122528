"""Maps between models: known maps are found, chance is chance, and a carried vector is judged."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from steerscope.directions import mean_diff
from steerscope.errors import BadValueError
from steerscope.extraction.activations import extract
from steerscope.sites import Site
from steerscope.studies.carrying.findings import (
    PAIR,
    PROCRUSTES,
    RIDGE,
    MapSquares,
    ReadTexts,
    chosen_ridge,
    fit_maps,
    held_out_r2,
    map_table,
    permuted,
    procrustes_map,
    ridge_map,
    squares_of_maps,
)
from steerscope.studies.carrying.measure import (
    CARRIED,
    MIXED,
    OWN,
    _activations,
    carried_rows,
    carry_vector,
)
from steerscope.studies.carrying.plan import CarryPlan
from steerscope.studies.carrying.wording import carried_in_words
from steerscope.texts.chats import Chat
from steerscope.verification import verify
from tests.studies.test_comparison import OTHER, PAIRS, PROMPTS

N = 60
RIDGES = (0.01, 1.0)


def planted(noise=0.0, seed=0):
    """Activations of two models, the second a rotation of the first into a wider space."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 5)) * np.array([3.0, 2.0, 1.0, 1.0, 0.5]) + 4.0
    rotation = np.linalg.qr(rng.normal(size=(9, 5)))[0].T
    y = 2.0 * x @ rotation + 1.0 + noise * rng.normal(size=(N, 9))
    return x, y, rotation


def read(x, y):
    """Texts of pairs, a positive one and a negative one after the other."""
    return ReadTexts(x, y, np.arange(len(x)) % 2 == 0, np.arange(len(x)) // 2)


def halves(x, y):
    return read(x[: N // 2], y[: N // 2]), read(x[N // 2 :], y[N // 2 :])


def test_a_rotation_and_a_scale_are_found_again():
    x, y, rotation = planted()
    found = procrustes_map(x, y)
    np.testing.assert_allclose(found.weight, 2.0 * rotation, atol=1e-8)
    np.testing.assert_allclose(found(x), y, atol=1e-8)
    np.testing.assert_allclose(ridge_map(x, y, 1e-10).weight, 2.0 * rotation, atol=1e-5)
    moved = np.array([1.0, 0, 0, 0, 0])
    np.testing.assert_allclose(found.carried(moved), found(x[:1] + moved)[0] - found(x[:1])[0])


def test_the_ridge_map_by_hand():
    x, y = np.array([[1.0], [-1.0]]), np.array([[2.0], [-2.0]])
    assert ridge_map(x, y, 0.5).weight[0, 0] == pytest.approx(4 / (2 + 0.5 * 2))


def test_held_out_r2_is_one_for_a_true_map_and_nothing_for_permuted_texts():
    x, y, _ = planted(noise=0.1)
    fit, held_out = halves(x, y)
    table = map_table(
        squares_of_maps(fit_maps(fit, RIDGES), fit, held_out, RIDGES, n_permuted=19)
    ).set_index("map")
    for name in ("ridge", "procrustes"):
        assert table.r2[name] > 0.95
        assert table.low[name] <= table.r2[name] <= table.high[name]
        assert table.null_high[name] < 0.5
        assert table.p[name] == pytest.approx(1 / 20)
    assert (table.n.unique(), table.n_pairs.unique()) == ([30], [15])
    unrelated = read(fit.x, np.random.default_rng(1).normal(size=fit.y.shape))
    other = read(held_out.x, np.random.default_rng(2).normal(size=held_out.y.shape))
    nothing = map_table(
        squares_of_maps(fit_maps(unrelated, RIDGES), unrelated, other, RIDGES, n_permuted=19)
    )
    assert (nothing.p > 0.05).all()
    left, spread = held_out_r2(procrustes_map(fit.x, fit.y), held_out.x, held_out.y)
    assert 1 - left.sum() / spread.sum() == pytest.approx(table.r2["procrustes"])


def test_few_held_out_pairs_are_not_surer_than_they_are():
    rng, held = np.random.default_rng(0), 0
    for _ in range(150):
        left = rng.gamma(4.0, size=(2, 4)).repeat(2, axis=1) / 4
        squares = MapSquares(1.0, left * [[0.5], [1.0]], (left,) * 2, 20, np.arange(8) // 2)
        row = map_table({RIDGE: squares}).iloc[0]
        held += row.low <= 0.5 <= row.high
        assert row.low <= row.r2 <= row.high <= 1.0
    assert held >= 0.9 * 150  # of 4 pairs percentiles alone held it in 119


def test_the_ridge_is_chosen_on_texts_that_were_left_out():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 15))
    y = x[:, :1] + 3 * rng.normal(size=(20, 1))
    # a map that believes every number is worse
    assert chosen_ridge(read(x, y), (1e-6, 10.0)) == 10.0
    with pytest.raises(BadValueError, match="at least 8"):
        chosen_ridge(read(x[:5], y[:5]), (1.0,))
    alone = ReadTexts(x, y, np.arange(20) % 2 == 0, np.zeros(20, dtype=int))
    with pytest.raises(BadValueError, match="of 1 pairs"):
        chosen_ridge(alone, (1.0,))


def test_texts_of_a_pair_are_left_out_together():
    """Each text is said twice: what knows the other one is best for it, and says nothing of a new pair."""
    rng = np.random.default_rng(0)
    x, y = (np.repeat(rng.normal(size=(15, d)), 2, axis=0) for d in (40, 3))
    by_text = ReadTexts(x, y, np.arange(30) % 2 == 0, np.arange(30))
    assert chosen_ridge(by_text, (1e-6, 100.0)) == 1e-6
    assert chosen_ridge(read(x, y), (1e-6, 100.0)) == 100.0
    r2 = map_table(
        squares_of_maps(fit_maps(read(x, y), RIDGES), read(x, y), read(x, y), RIDGES, n_permuted=1)
    )
    by_item = map_table(
        squares_of_maps(fit_maps(by_text, RIDGES), by_text, by_text, RIDGES, n_permuted=1)
    )
    assert (r2.high - r2.low)[1] > 1.2 * (by_item.high - by_item.low)[1]  # half as many items


def test_a_permuted_map_is_seeded_and_pairs_other_texts():
    x, y, rotation = planted()
    for kind in (RIDGE, PROCRUSTES):
        one, same, other = (permuted(kind, read(x, y), RIDGES, seed=s) for s in (0, 0, 1))
        np.testing.assert_array_equal(one.weight, same.weight)
        assert np.abs(one.weight - other.weight).max() > 0.01
        assert np.abs(one.weight - 2 * rotation).max() > 0.5
    mixed = read(x, y).mixed(0)
    np.testing.assert_allclose(mixed.y[::2].mean(axis=0), y[::2].mean(axis=0))  # of each class
    assert (np.sort(mixed.y[1::2], axis=0) == np.sort(y[1::2], axis=0)).all()
    assert not (mixed.y == y).all()


def test_a_permuted_map_chooses_a_ridge_of_its_own():
    x, y, _ = planted(noise=0.1)
    true, mixed = (
        fit_maps(read(x, y), (1e-3, 1e3)),
        permuted(RIDGE, read(x, y), (1e-3, 1e3), seed=0),
    )
    assert (true[RIDGE].ridge, mixed.ridge) == (1e-3, 1e3)


def only_classes(rng, n, width=24):
    """Noise of two models that have nothing in common but that both tell the classes apart."""
    sign = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)[:, None]
    axes = (np.eye(width)[0], np.eye(width)[1])
    return read(*(3 * sign * axis + rng.normal(size=(n, width)) for axis in axes))


def test_two_classes_alone_are_no_map():
    """A map of noise and a class axis tells nothing that texts of the same class at random do not."""
    rng, told, ridges = np.random.default_rng(0), 0, (1.0, 10.0)
    for _ in range(12):
        fit, held_out = only_classes(rng, 40), only_classes(rng, 24)
        table = map_table(
            squares_of_maps(fit_maps(fit, ridges), fit, held_out, ridges, n_permuted=19)
        )
        assert table.r2[0] > 0.05  # the ridge map: the classes alone
        told += (table.p < 0.051).sum()
    assert told <= 5  # of 24, at one in twenty
    found = fit_maps(fit, ridges)[RIDGE], permuted(RIDGE, fit, ridges, seed=0)
    for linear in found:  # and both return the target's class axis
        there = linear.carried(np.eye(24)[0])
        assert there[1] / np.linalg.norm(there) > 0.7


PLAN = CarryPlan(
    source="gpt2", source_layer=1, layer=1, n_permuted=4, kl=0.02, n_null_seeds=2, n_pairs=4,
    n_kl_prompts=2, n_test=5, n_new=4, ridges=(0.1,),
)  # fmt: skip


@pytest.fixture(scope="module")
def carried(load):
    return carry_vector((load("gpt2"), load("llama")), PAIRS, PROMPTS, PLAN, texts=OTHER)


def test_a_vector_is_carried_to_a_model_of_another_kind_and_judged(carried):
    found = carried
    names = {OWN, CARRIED.format("ridge"), CARRIED.format("procrustes"), MIXED}
    assert set(found.directions) == names
    assert set(found.comparison.ranking[~found.comparison.ranking.null].method) == names
    cosines = found.cosines
    assert cosines[OWN] == pytest.approx(1.0)
    reached = found.comparison.screen.kl_nats.dropna()
    np.testing.assert_allclose(reached, 0.02, rtol=0.02)
    ranking, effect = found.comparison.ranking, found.comparison.effect
    near = pd.DataFrame({"vector": cosines.keys(), "cosine_to_own": cosines.values()})
    tells = {"knows_concept": False}
    said = carried_in_words(map_table(found.maps), near, ranking, effect, **tells)
    assert len(said) == 2 + len(names)
    assert "maps of texts paired at random within each class reach" in said[0]
    assert sum("; cosine with the model's own" in line for line in said) == len(names)
    ahead = ranking.assign(p_holm=0.01)
    assert (
        "ahead of each of 6 null directions, as 1 of 7 directions at random is too"
        in (carried_in_words(map_table(found.maps), near, ahead, effect, **tells)[2])
    )
    known = carried_in_words(map_table(found.maps), near, ranking, effect, knows_concept=True)
    assert len(known) == 3 + len(names)
    assert "what is carried tells nothing of the source" in known[2]
    assert not any("cosine" in line for line in known)
    lost = ranking.assign(effect=ranking.effect.where(ranking.method != MIXED))
    lost = lost[lost.method != OWN]
    maps = map_table(found.maps).assign(r2=-0.35)
    said = carried_in_words(maps, near, lost, effect, **tells)
    assert "is not shown to tell anything (-35 % [" in said[0]
    assert f"{MIXED}: not known, since its logits are not finite." in said
    assert said[-1] == f"Not measured, since they do not reach the matched KL: {OWN}."


def test_a_vector_carried_to_its_own_model_is_itself(load):
    plan = CarryPlan(
        source="gpt2", source_layer=1, layer=1, n_permuted=2, kl=0.02, n_null_seeds=1, n_pairs=4,
        n_kl_prompts=2, n_test=4, n_new=4, ridges=(1e-6,),
    )  # fmt: skip
    found = carry_vector((load("llama"), load("llama")), PAIRS, PROMPTS, plan)
    cosines = found.cosines
    for name in ("ridge", "procrustes"):  # the vector lies among the texts that taught the map
        assert cosines[CARRIED.format(name)] > 0.99
    pairs = {row.prompt: row.value for row in carried_rows(found, "mood") if row.metric == PAIR}
    assert len(set(pairs.values())) == len(pairs) / 2  # two texts each


def test_vectors_and_maps_are_of_the_fit_part_and_maps_are_judged_on_the_select_part(load):
    models, sites = (load("gpt2"), load("llama")), [Site("resid_post", i) for i in (0, 1)]
    plan = CarryPlan(
        source="gpt2", source_layer=0, layer=1, n_permuted=2, kl=0.02, n_null_seeds=1, n_pairs=2,
        n_kl_prompts=2, n_test=2, n_new=2, ridges=(0.1,), seed=2,
    )  # fmt: skip
    found = carry_vector(models, PAIRS, PROMPTS, plan, texts=OTHER)
    parts = OTHER.split(plan.seed)
    fit, held_out = (
        tuple(
            _activations(m, [t for p in part.pairs for t in (p.positive, p.negative)], s, plan.read)
            for m, s in zip(models, sites, strict=True)
        )
        for part in (parts.fit, parts.select)
    )
    maps = fit_maps(read(*fit), plan.ridges, seed=plan.seed)
    first, own = (
        mean_diff(extract(m, PAIRS.split(plan.seed).fit, s)[s])
        for m, s in zip(models, sites, strict=True)
    )
    np.testing.assert_allclose(found.directions[OWN].unit, own.unit, atol=1e-5)
    for name, linear in maps.items():
        squares = held_out_r2(linear, *held_out)
        np.testing.assert_allclose(found.maps[name].squares, squares, rtol=1e-4)
        assert found.maps[name].n_fit == len(fit[0])
        assert len(set(found.maps[name].pair)) == len(held_out[0]) / 2
        there = linear.carried(first.unit.double().numpy())
        carried = found.directions[CARRIED.format(name)].unit
        np.testing.assert_allclose(carried, there / np.linalg.norm(there), atol=1e-5)


def test_each_model_reads_the_texts_in_its_own_chat_template(load, monkeypatch):
    source, target = load("gpt2"), load("llama")
    seen = {source.name: set(), target.name: set()}

    def noted(model, texts, *given):
        seen[model.name] |= set(map(str, texts))
        return _activations(model, texts, *given)

    monkeypatch.setattr("steerscope.studies.carrying.measure._activations", noted)
    for model, mark in ((source, "w1"), (target, "w2")):
        template = f"{mark} {{{{ messages[0]['content'] }}}}"
        monkeypatch.setattr(model.tokenizer, "chat_template", template)
    plan = CarryPlan(
        source="gpt2", source_layer=1, layer=1, n_permuted=2, kl=0.02, n_null_seeds=1, n_pairs=4,
        n_kl_prompts=2, n_test=4, n_new=2, ridges=(0.1,),
    )  # fmt: skip
    found = carry_vector((source, target), PAIRS, PROMPTS, plan, texts=OTHER, chat=Chat())
    assert set(found.comparison.ranking.method) >= {OWN, CARRIED.format("ridge")}
    bare = [{text.removeprefix(mark) for text in seen[m.name]} for m, mark in (
        (source, "w1"), (target, "w2")
    )]  # fmt: skip
    assert bare[0] == bare[1]
    assert all(text.startswith("w1") for text in seen[source.name])
    assert all(text.startswith("w2") for text in seen[target.name])


def test_the_command_says_how_well_it_went(run_cli, tiny_folder, words, tmp_path):
    few = ["--n-test", 3, "--n-pairs", 3, "--n-new", 2, "--kl", 0.02, "--layer", 1]
    code, said, errors = run_cli(
        "carry", tiny_folder("gpt2"), "--model", tiny_folder("llama"), "--contrasts", words, *few,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, errors
    assert "held-out R²" in said
    assert "carried by ridge" in said
    assert "resid_post." in said.splitlines()[0]
    assert "what is carried tells nothing of the source" in said
    found = verify(tmp_path / "run")
    assert not found.differences
    assert found.n_printed > 100
