from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from steerscope.errors import BadValueError
from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.statistics import sign_flip
from steerscope.studies.methods.across import across_places
from steerscope.studies.methods.findings import (
    BETWEEN,
    COMMON,
    LOST,
    NULL,
    NULLS,
    OWN,
    TOP,
    UNKNOWN,
    at_common_layer,
    best_layers,
    null_band,
    rank,
    rivals,
    standings,
)
from steerscope.studies.methods.wording import in_words

N = 100
FLIPPED = Effect("flipped", "share", "continuations whose mood is flipped")
SHARES = {"good": 0.8, "equal": 0.8, "fair": 0.5, **{f"noise_{i}": 0.1 for i in range(10)}}


def planted(seed=0, shares=SHARES, places=(OWN,), matchings=("kl", "norm")):
    """Flips of prompts that are easy or hard for all methods alike, with nulls at 10 %."""
    rng = np.random.default_rng(seed)
    conditions = [(m, -1, s) for m, s in shares.items()]
    conditions += [(m, s, 0.1) for m in NULLS for s in range(5)]
    parts = []
    for place in places:
        for matching in matchings:
            ease = rng.random(N)
            for method, number, share in conditions:
                drawn = np.where(rng.random(N) < 0.7, ease, rng.random(N)) < share
                parts.append(
                    pd.DataFrame(
                        {
                            "place": place, "matching": matching, "method": method,
                            "seed": number, "layer": 0, "item": range(N),
                            "effect": drawn.astype(float),
                        }
                    )
                )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_a_method_that_is_better_is_found_and_noise_is_not():
    responses = planted()
    pairs = rivals(responses)
    table = standings(rank(responses), pairs)
    for _, rows in table.groupby("matching"):
        standing = rows.set_index("method").standing
        assert standing[["good", "equal"]].tolist() == [TOP, TOP]
        assert standing["fair"] == BETWEEN
        assert set(standing.filter(like="noise")) == {LOST}
        assert set(standing[list(NULLS)]) == {NULL}
    between = pairs[(pairs.better.isin(["good", "equal"])) & (pairs.worse.isin(["good", "equal"]))]
    assert (between.p_corrected > 0.05).all()


def test_where_nothing_works_the_correction_keeps_false_calls_rare():
    nothing = {f"noise_{i}": 0.1 for i in range(6)}
    called = 0
    for seed in range(10):
        responses = planted(seed, nothing, matchings=("kl",))
        called += (rank(responses).p_holm < 0.05).any() or (
            rivals(responses).p_corrected < 0.05
        ).any()
    assert called <= 2


def test_p_is_that_of_the_null_direction_hardest_to_beat():
    responses = planted(matchings=("kl",))
    own = responses[responses.method == "fair"]
    strong = own.assign(method="random", seed=99)  # a null direction as good as the method
    table = rank(pd.concat([responses, strong], ignore_index=True)).set_index("method")
    assert table.p["fair"] > 0.5
    assert table.p["good"] < 0.01
    assert table.n_nulls["fair"] == 16


def test_effects_band_and_difference_by_hand():
    values = {
        "a": [1, 1, 1, 0], "b": [1, 0, 0, 0],
        "random": [0, 0, 0, 0], "label_shuffled": [1, 1, 0, 0],
    }  # fmt: skip
    responses = pd.DataFrame(
        [
            {
                "place": OWN, "matching": "kl", "method": m, "seed": 0, "layer": 2, "item": i,
                "effect": float(v),
            }
            for m, row in values.items() for i, v in enumerate(row)
        ]
    )  # fmt: skip
    table = rank(responses).set_index("method")
    assert table.effect.to_dict() == {"a": 0.75, "b": 0.25, "random": 0.0, "label_shuffled": 0.5}
    assert list(table.index) == ["a", "label_shuffled", "b", "random"]
    assert table.null_low["a"] == pytest.approx(0.025 * 0.5)
    assert table.null_high["a"] == pytest.approx(0.975 * 0.5)
    assert table.null_max["a"] == 0.5
    assert table.p.isna().tolist() == [False, True, False, True]
    assert table.p_holm["a"] == pytest.approx(min(1, 2 * table.p["a"]))
    [pair] = rivals(responses).to_dict("records")
    assert (pair["better"], pair["worse"], pair["difference"]) == ("a", "b", 0.5)


def test_the_null_band_holds_the_middle_95_percent():
    assert null_band(np.arange(41.0)) == pytest.approx((1.0, 39.0))


def test_sign_flips_by_hand():
    # of the 8 flips of three ones only the one without a flip reaches their t
    differences = np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [0.0, 0.0, 0.0]])
    p = sign_flip(differences, n_flips=20000)
    assert p[0] == pytest.approx(1 / 8, abs=0.01)
    assert p[1:].tolist() == [1.0, 1.0]


def test_layers_are_chosen_for_each_matching_and_nulls_choose_theirs():
    rows = [
        {"direction": d, "matching": m, "method": name, "seed": s, "layer": layer, "effect": effect}
        for d, (name, s, layer, kl, norm) in enumerate(
            [
                ("a", -1, 0, 1.0, 5.0), ("a", -1, 1, 2.0, 4.0),
                ("b", -1, 0, 3.0, 1.0), ("b", -1, 1, 1.5, 3.0),
                ("random", 0, 0, 9.0, 0.0), ("random", 0, 1, 0.0, 9.0),
                ("random", 1, 0, np.nan, 1.0), ("random", 1, 1, -1.0, 0.0),
            ]
        )
        for m, effect in (("kl", kl), ("norm", norm))
    ]  # fmt: skip
    screen = pd.DataFrame(rows)
    own = best_layers(screen).set_index(["matching", "method", "seed"]).layer.to_dict()
    assert own == {
        ("kl", "a", -1): 1, ("kl", "b", -1): 0, ("kl", "random", 0): 0, ("kl", "random", 1): 1,
        ("norm", "a", -1): 0, ("norm", "b", -1): 1, ("norm", "random", 0): 1,
        ("norm", "random", 1): 0,
    }  # fmt: skip
    common = at_common_layer(screen)  # means: kl 2.0 and 1.75, norm 3.0 and 3.5
    assert common.groupby("matching").layer.unique().map(list).to_dict() == {"kl": [0], "norm": [1]}
    assert set(common.method) == {"a", "b", "random"}
    assert set(common.place) == {COMMON}


def test_a_layer_that_some_methods_do_not_reach_is_not_the_common_one():
    screen = pd.DataFrame(
        {
            "matching": "kl", "seed": -1, "method": ["a", "a", "b", "b"], "layer": [0, 1, 0, 1],
            "effect": [1.0, 9.0, 1.0, np.nan],
        }
    )  # fmt: skip
    assert set(at_common_layer(screen).layer) == {0}


def test_the_words_name_who_is_above_between_and_below():
    responses = planted(matchings=("kl",))
    pairs = rivals(responses)
    twins = {pairs.better.iloc[0], pairs.worse.iloc[0]}
    pairs["cosine"] = [0.999, *[np.nan, 0.5] * len(pairs)][: len(pairs)]
    first, lost, top, same = in_words(standings(rank(responses), pairs), pairs, FLIPPED)
    assert "good" in first
    assert "fair: ahead of every one of 15 null directions" in first
    assert first.endswith(
        "n = 100 held-out items, Holm over 13 comparisons), as 1 of 16 directions at random is too."
    )
    assert "noise_0" in lost
    assert "good" not in lost
    assert "Really lower: fair" in top
    assert all(name in same for name in (*twins, "cosine 0.999"))


def test_an_effect_that_gradient_methods_descend_is_said_to_be_one():
    responses = planted(matchings=("kl",))
    pairs = rivals(responses).assign(cosine=np.nan)
    table = standings(rank(responses), pairs)
    assert "favours them" in in_words(table, pairs, PREFERENCE)[-1]
    assert not any("favours" in line for line in in_words(table, pairs, FLIPPED))


def test_tables_that_cannot_be_compared_are_refused():
    responses = planted(matchings=("kl",))
    with pytest.raises(BadValueError, match="no null directions"):
        rank(responses[~responses.method.isin(NULLS)])
    with pytest.raises(BadValueError, match="lack an effect"):
        rank(responses.drop(index=responses[responses.method == "fair"].index[:3]))
    with pytest.raises(BadValueError, match="at least two methods"):
        rivals(responses[responses.method.isin([*NULLS, "good"])])


def test_a_method_that_overflowed_is_not_known_and_the_others_are_ranked_as_without_it():
    responses = planted(matchings=("norm",))
    lost = responses.method == "fair"
    responses.loc[lost, "effect"] = np.nan
    pairs = rivals(responses)
    table = standings(rank(responses), pairs)
    known = rank(responses[~lost])
    pd.testing.assert_frame_equal(table[table.n > 0][known.columns], known, check_dtype=False)
    assert table.set_index("method").standing["fair"] == UNKNOWN
    assert (table.n_nulls.dropna() == 5 * len(NULLS)).all()
    assert "fair" not in {*pairs.better, *pairs.worse}
    said = " ".join(in_words(table, pairs.assign(cosine=0.0), FLIPPED))
    assert "Not known, since logits were not finite: fair." in said
    assert "nan" not in said.lower()


def test_items_that_say_the_same_count_as_one():
    """Two methods and three nulls on four contrasts, each asked ten times: four items tell nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for method, mean in (("good", 1.0), ("idle", 0.0), *((null, 0.0) for null in NULLS)):
        for group, value in enumerate(mean + 0.1 * rng.normal(size=4)):
            label = {"place": OWN, "matching": "kl", "method": method, "seed": 0, "layer": 1}
            rows += [
                label | {"item": 10 * group + copy, "group": group, "effect": value + 0.01 * copy}
                for copy in range(10)
            ]
    cloned = pd.DataFrame(rows)
    once = cloned.groupby(["place", "matching", "method", "seed", "layer", "group"], sort=False)
    once = once.effect.mean().reset_index().rename(columns={"group": "item"})
    for of in (rank, rivals):
        pd.testing.assert_frame_equal(of(cloned), of(once))
    found = rank(cloned).set_index("method")
    assert found.n["good"] == 4
    assert found.p["good"] > 0.05
    assert rank(cloned.drop(columns="group")).set_index("method").p["good"] < 0.001


def test_a_matching_that_nulls_alone_reach_has_no_common_layer():
    def rows(matching, methods):
        label = {"matching": matching, "seed": 0, "layer": 1, "effect": 1.0}
        return [label | {"method": method} for method in methods]

    nulls_alone = rows("kl", NULLS)
    screen = pd.DataFrame([*nulls_alone, *rows("norm", ["good", *NULLS])])
    assert set(at_common_layer(screen).matching) == {"norm"}
    assert at_common_layer(pd.DataFrame(nulls_alone)).empty


def test_methods_that_came_to_other_kl_on_the_held_out_prompts_are_not_said_to_be_at_one():
    for matching, told in (("kl", True), ("norm", False)):
        responses = planted(matchings=(matching,))
        pairs = rivals(responses)
        table = standings(rank(responses), pairs).assign(kl_nats=0.1)
        assert "at one KL" not in " ".join(in_words(table, pairs, FLIPPED))
        spent = table.assign(kl_nats=[0.1, *[0.2] * (len(table) - 1)])
        said = " ".join(in_words(spent, pairs, FLIPPED))
        assert ("This is not a comparison at one KL" in said) is told
        assert ("is 0.100 to 0.200 nats on the held-out ones" in said) is told


def test_nulls_that_do_not_reach_the_kl_count_as_at_least_as_good():
    """As of random weights, where one of twelve reaches it: ahead of that one a method tells nothing."""
    responses = planted()
    out = responses.method.isin(NULLS) & (responses.seed > 0) & (responses.matching == "kl")
    some = responses[~out]
    table = standings(rank(some), rivals(some))
    by_matching = dict([*table.groupby("matching")])
    assert set(by_matching["kl"].null_lost) == {4 * len(NULLS)}
    assert set(by_matching["kl"].standing) == {LOST, NULL}
    assert TOP in set(by_matching["norm"].standing)
    assert set(by_matching["norm"].null_lost) == {0}
    said = " ".join(in_words(table, rivals(some), FLIPPED))
    assert (
        f"{len(NULLS)} null directions; {4 * len(NULLS)} more, whose logits are not finite or which do not reach "
        "the KL, count as at least as good" in said
    )
    screened = some.drop_duplicates(["place", "matching", "method", "seed"])
    across = across_places(some, screened.assign(screened=screened.effect))
    assert dict(across.groupby("matching").nulls_lost.max()) == {"kl": 4 * len(NULLS), "norm": 0}


def test_nulls_that_overflow_count_as_at_least_as_good():
    responses = planted(matchings=("kl",))
    gone = (responses.method == NULLS[0]) & (responses.seed < 2)
    some = responses.assign(effect=responses.effect.mask(gone))
    table = standings(rank(some), rivals(some))
    assert set(table.null_lost.dropna()) == {2}
    assert set(table.p.dropna()) == {1.0}
    assert set(table.standing) <= {LOST, NULL}
    said = " ".join(in_words(table, rivals(some), FLIPPED))
    assert (
        f"{5 * len(NULLS) - 2} null directions; 2 more, whose logits are not finite or which do not reach the KL, count as at least as good"
        in said
    )
    everyone = responses.assign(effect=responses.effect.mask(responses.method.isin(NULLS)))
    with pytest.raises(BadValueError, match="no null directions .*their logits are not finite"):
        rank(everyone)
    assert rank(responses).null_lost.dropna().eq(0).all()
