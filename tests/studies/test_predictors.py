from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from steerscope.errors import BadValueError
from steerscope.statistics import every_block_order
from steerscope.studies.predictors.across_models import rho_by_model
from steerscope.studies.predictors.findings import (
    EXPECTED_SIGNS,
    leave_one_concept_out,
    predictor_league,
    selection_regret,
)
from steerscope.studies.predictors.over_layers import grouped_correlation
from steerscope.studies.predictors.power import detectable_over_layers, power_over_layers
from steerscope.studies.predictors.thresholds import judge_threshold, roc_curve
from steerscope.studies.predictors.wording import league_in_words


def table(columns, n_layers, concepts=("a", "b", "c"), model="m"):
    """One row per concept and layer; each column is a function of (concept number, layers)."""
    layers = np.arange(n_layers)
    parts = []
    for number, concept in enumerate(concepts):
        values = {name: make(number, layers) for name, make in columns.items()}
        parts.append(pd.DataFrame({"model": model, "concept": concept, "layer": layers, **values}))
    return pd.concat(parts, ignore_index=True)


def noise(seed, per_concept=True):
    def make(number, layers):
        return np.random.default_rng([seed, number * per_concept]).normal(size=len(layers))

    return make


def test_one_concept_gives_spearmans_rho():
    t = table({"x": noise(1), "y": noise(2)}, 9, concepts=("a",))
    found = grouped_correlation(t, "x", "y", n_resamples=200)
    assert found.rho == pytest.approx(stats.spearmanr(t.x, t.y).statistic)
    assert found.n == 9


def test_layers_are_ranked_within_a_concept_so_that_levels_do_not_count():
    # The second and third concept lie between two layers of the first, so that ranks over all
    # rows would be neither evenly spaced nor the same in every concept.
    lifted = {"x": lambda c, i: i / (1 + 9 * c) + 3.05 * c, "y": lambda c, i: 100.0 * c - i}
    assert grouped_correlation(table(lifted, 8), "x", "y", n_resamples=50).rho == -1


def test_p_is_the_share_of_layer_orders_that_do_as_well():
    """All three concepts agree: under shared layers that is one draw of 110 orders in pieces and not three."""
    same = {"x": lambda c, i: i, "y": lambda c, i: i**2}
    found = grouped_correlation(table(same, 5), "x", "y")
    assert found.rho == pytest.approx(1)
    assert found.p == pytest.approx(2 / 110)  # exact: there and back


def test_partial_correlation_holds_a_control_fixed():
    columns = {
        "depth": lambda c, i: i,
        "x": lambda c, i: i + 2 * noise(5)(c, i),
        "y": lambda c, i: i + 2 * noise(6)(c, i),
    }
    t = table(columns, 60, concepts=("a",))
    simple = grouped_correlation(t, "x", "y", n_resamples=100)
    partial = grouped_correlation(t, "x", "y", controls=["depth"], n_resamples=300)
    ranks = {k: stats.rankdata(t[k]) for k in ("x", "y", "depth")}
    rxy, rxd, ryd = (
        np.corrcoef(ranks[a], ranks[b])[0, 1]
        for a, b in (("x", "y"), ("x", "depth"), ("y", "depth"))
    )
    by_hand = (rxy - rxd * ryd) / math.sqrt((1 - rxd**2) * (1 - ryd**2))
    assert partial.rho == pytest.approx(by_hand)
    assert simple.p < 0.02 < 0.05 < partial.p


def test_a_diagnostic_that_is_its_own_control_has_no_partial_correlation():
    t = table({"x": noise(1), "y": noise(2)}, 9)
    assert math.isnan(grouped_correlation(t, "x", "y", controls=["x"], n_resamples=20).rho)


def test_a_partial_p_refits_the_controls_to_every_order():
    """Parity with a fit by least squares of each order's residuals on the controls."""
    columns = {"x": noise(1), "y": noise(2), "depth": lambda c, i: i, "norm": noise(3)}
    t = table(columns, 7, concepts=("a", "b"))
    found = grouped_correlation(t, "x", "y", controls=["depth", "norm"])
    sides = []
    for _, part in t.groupby("concept"):
        ranks = {k: stats.rankdata(part[k]) for k in columns}
        held = np.column_stack([np.ones(7), ranks["depth"], ranks["norm"]])
        sides.append([(left(ranks[k], held), held) for k in ("x", "y")])
    rhos = []
    for order in every_block_order(7):
        again = [(x, left(y[order], held)) for (x, _), (y, held) in sides]
        x, y = (np.concatenate(side) for side in zip(*again, strict=True))
        rhos.append(x @ y / math.sqrt((x @ x) * (y @ y)))
    assert found.p == pytest.approx(np.mean(np.abs(rhos) >= abs(found.rho) - 1e-12))


def left(y, controls):
    return y - controls @ np.linalg.lstsq(controls, y, rcond=None)[0]


BY_HAND = pd.DataFrame(
    {
        "model": "m", "concept": ["a"] * 4 + ["b"] * 4, "layer": [0, 1, 2, 3] * 2,
        "up": [0.1, 0.9, 0.5, 0.2, 0.1, 0.2, 0.3, 0.9],
        "y": [1.0, 4.0, 3.0, 2.0, 0.0, 5.0, 1.0, 2.0],
    }
)  # fmt: skip


def test_regret_by_hand():
    found = selection_regret(BY_HAND, "up", "y", sign=1).set_index("concept")
    assert found.picked.to_dict() == {"a": 1, "b": 3}
    assert found.best.to_dict() == {"a": 1, "b": 1}
    assert found.regret.to_dict() == {"a": 0.0, "b": 3.0}
    assert found.regret_middle.to_dict() == {"a": 1.0, "b": 4.0}
    assert found.regret_random.to_dict() == {"a": 1.5, "b": 3.0}
    assert found.range.to_dict() == {"a": 3.0, "b": 5.0}
    other = selection_regret(BY_HAND, "up", "y", sign=-1).set_index("concept")
    assert other.picked.to_dict() == {"a": 0, "b": 0}


def test_the_interval_of_a_regret_is_over_models_and_there_is_none_for_two():
    """Regrets of 0, 0, 3; 0, 0, 0 and 3, 3, 3: means of 1, 0 and 3, t with 2 degrees of freedom over their sums."""
    up = {"x": lambda c, i: i.astype(float)}
    loses = [(0, 0, 3), (0, 0, 0), (3, 3, 3)]
    parts = [
        table(up | {"y": lambda c, i, lost=lost: np.where(i == 1, lost[c], 0.0)}, 4, model=str(m))
        for m, lost in enumerate(loses)
    ]
    several, two, one = (
        predictor_league(pd.concat(p), ["x"], "y", controls=(), n_resamples=20).iloc[0]
        for p in (parts, parts[:2], parts[:1])
    )
    assert several.regret == pytest.approx(4 / 3)
    error = math.sqrt(3 / 2 * (1 + 16 + 25)) / 9  # sums of what is left: -1, -4, 5
    assert several.regret_high == pytest.approx(4 / 3 + 4.302653 * error)
    assert several.regret_low == 0.0
    assert math.isnan(two.regret_low)
    assert math.isnan(two.regret_high)
    assert one.regret_high == pytest.approx(1 + 4.302653)  # over the concepts of the one model


def test_the_middle_layer_is_that_of_the_model_and_not_of_those_that_are_known():
    whole = table({"effect": lambda number, layers: np.arange(9.0)}, 9, concepts=("a",)).assign(
        gap=0.0
    )
    [one] = selection_regret(whole, "gap", "effect", sign=1).regret_middle
    late = whole.assign(effect=whole.effect.mask(whole.layer > 5))
    [two] = selection_regret(late, "gap", "effect", sign=1).regret_middle
    assert (one, two) == (8.0 - 4.0, 5.0 - 4.0)
    lost = whole.assign(effect=whole.effect.mask(whole.layer == 4))
    assert math.isnan(selection_regret(lost, "gap", "effect", sign=1).regret_middle.iloc[0])


def test_the_concept_left_out_teaches_nothing():
    """A diagnostic that is right on two concepts and wrong on the third is chosen, and pays there."""
    columns = {
        "x": lambda c, i: i.astype(float) * (1 if c < 2 else -1),
        "other": noise(3),
        "y": lambda c, i: i.astype(float),
    }
    found = leave_one_concept_out(table(columns, 8), ["x", "other"], "y")
    held_out = found[(found.concept == "c") & (found.diagnostic == "x")].iloc[0]
    assert held_out.chosen
    assert held_out.rho_of_others == 1
    assert held_out.regret == 7
    assert found.groupby("concept").chosen.sum().to_dict() == {"a": 1, "b": 1, "c": 1}
    with pytest.raises(BadValueError, match="at least 2 concepts"):
        leave_one_concept_out(BY_HAND[BY_HAND.concept == "a"], ["up"], "y")


def test_a_planted_predictor_is_found_and_noise_is_not():
    hidden = noise(0, per_concept=False)
    columns = {
        "depth": lambda c, i: i / i.max(),
        "norm": noise(90, per_concept=False),
        "gradient": lambda c, i: hidden(c, i) + 0.3 * noise(1)(c, i),
        "y": lambda c, i: hidden(c, i) + 0.3 * noise(2)(c, i),
        **{f"noise {k}": noise(10 + k) for k in range(9)},
    }
    t = table(columns, 12)
    names = ["gradient", *(f"noise {k}" for k in range(9)), "norm"]
    league = predictor_league(t, names, "y", n_resamples=400).set_index("diagnostic")
    assert league.index[0] == "gradient"
    assert league.p_holm["gradient"] < 0.05
    assert league.partial_p["gradient"] < 0.05
    assert league.low["gradient"] > 0.4
    assert (league.p_holm.drop("gradient") > 0.05).all()
    assert (league.q_bh.drop("gradient") > 0.05).all()
    assert league.regret["gradient"] < league.regret_random["gradient"] / 3
    assert math.isnan(league.partial_rho["norm"])
    assert (league.n_points["gradient"], league.n_layers.iloc[0], league.n_groups.iloc[0]) == (36, 12, 3)  # fmt: skip
    assert league.expected_sign["gradient"] == EXPECTED_SIGNS["gradient"] == 1


def test_layers_without_an_outcome_are_left_out_of_all_concepts():
    t = table({"x": lambda c, i: i, "y": lambda c, i: i.astype(float)}, 6)
    t.loc[2, "y"] = math.nan
    assert grouped_correlation(t, "x", "y", n_resamples=20).n == 15


def test_a_concept_without_an_outcome_is_as_if_it_were_not_there():
    columns = {"x": noise(1), "z": noise(2), "y": noise(3)}
    t = table(columns, 8)
    lost = t.assign(y=t.y.where(t.concept != "c"))
    rest = t[t.concept != "c"]
    for of in (
        lambda t: predictor_league(t, ["x", "z"], "y", controls=["z"], n_resamples=50),
        lambda t: selection_regret(t, "x", "y", sign=1),
        lambda t: leave_one_concept_out(t, ["x", "z"], "y"),
        lambda t: roc_curve(t, diagnostic="x", outcome="y"),
    ):
        pd.testing.assert_frame_equal(of(lost), of(rest))
    assert judge_threshold(lost, diagnostic="x", outcome="y", n_resamples=50) == judge_threshold(
        rest, diagnostic="x", outcome="y", n_resamples=50
    )
    assert rho_by_model(lost, "x", "y").equals(rho_by_model(rest, "x", "y"))


def test_where_no_concept_has_an_outcome_nothing_is_known():
    t = table({"x": noise(1), "y": lambda c, i: i * math.nan}, 8)
    league = predictor_league(t, ["x"], "y", controls=(), n_resamples=20)
    assert league[["rho", "low", "high", "p", "p_holm", "regret"]].isna().all(axis=None)
    assert league[["n_points", "n_layers", "n_groups"]].eq(0).all(axis=None)
    judged = judge_threshold(t, diagnostic="x", outcome="y", n_resamples=20)
    assert judged.words.startswith("No layer has a known y")
    assert math.isnan(power_over_layers(t, "y", 0.5, n_trials=2, n_orders=20))
    assert math.isnan(detectable_over_layers(t, "x", "y", n_resamples=20))
    assert league_in_words(league).startswith("No layer has a known outcome")


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(BadValueError, match="no column nonsense"):
        grouped_correlation(BY_HAND, "nonsense", "y")
    with pytest.raises(BadValueError, match="not measured at the same layers"):
        grouped_correlation(BY_HAND.iloc[:-1], "up", "y")
    with pytest.raises(BadValueError, match="two rows"):
        grouped_correlation(pd.concat([BY_HAND, BY_HAND.iloc[:1]]), "up", "y")
    with pytest.raises(BadValueError, match="neither 1 nor -1"):
        selection_regret(BY_HAND, "up", "y", sign=0)


def test_the_verdict_names_what_holds_after_correction_and_what_the_middle_layer_loses():
    right = {"x": lambda c, i: i + 0.0, "y": lambda c, i: i + 0.0, "noise": noise(3)}
    t = table(right, 9).assign(depth=lambda t: -t.x, norm=lambda t: t.x)
    said = league_in_words(predictor_league(t, ["x", "noise"], "y", controls=(), n_resamples=300))
    assert "Of 2 diagnostics 1 rank the layers beyond chance: x, rho +1.00" in said
    assert "the middle one loses 4.00 nats, a random one 4.00" in said
    assert "the best loses 0.00 (x)" in said
    said = league_in_words(predictor_league(t, ["noise"], "y", controls=(), n_resamples=300))
    assert "Of 1 diagnostics none ranks the layers beyond chance" in said


def test_few_layers_in_perfect_order_prove_nothing():
    """Nothing tells how far a perfect order is from the truth; and five layers have 110 orders in pieces."""
    t = table({"x": lambda c, i: i + 0.0, "y": lambda c, i: i + 0.0}, 5, concepts=("a",))
    found = grouped_correlation(t, "x", "y", n_resamples=200)
    assert found.rho == pytest.approx(1)
    assert found.p == pytest.approx(2 / 110)  # exact: there and back
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    league = predictor_league(t, ["x"] * 9, "y", controls=(), n_resamples=400)
    said = league_in_words(league)
    assert "rho +1.00 no interval" in said
    assert "p cannot fall below 0.0091, which is too much for 9 diagnostics" in said
    assert league.least_p.iloc[0] == pytest.approx(1 / 110)
    assert "could have been told" not in league_in_words(league.assign(least_p=0.001))
    two = pd.concat([t, t.assign(model="another")])
    assert predictor_league(two, ["x"], "y", controls=()).least_p[0] == pytest.approx(1 / 110**2)


def test_concepts_that_disagree_widen_the_interval():
    """Of two concepts one goes with the diagnostic and one against it, and every order cancels."""
    opposed = {"x": lambda c, i: i + 0.0, "y": lambda c, i: (1 - 2 * c) * np.sin(i)}
    found = grouped_correlation(table(opposed, 12, concepts=("a", "b")), "x", "y")
    assert found.rho == pytest.approx(0)
    assert math.isnan(found.low)
    own = lambda c, i: noise(7, per_concept=False)(c, i) + (3 * c - 3) * i  # noqa: E731
    t = table({"x": own, "y": lambda c, i: i + 0.5 * noise(8)(c, i)}, 12)
    rhos = [stats.spearmanr(part.x, part.y).statistic for _, part in t.groupby("concept")]
    found = grouped_correlation(t, "x", "y")
    assert found.low <= min(rhos) + 0.1
    assert found.high >= max(rhos) - 0.1


def test_a_model_without_a_whole_layer_is_left_out():
    t = pd.concat(
        [
            table({"x": noise(1), "y": noise(2)}, 12),
            table({"x": noise(3), "y": lambda c, i: i * math.nan}, 9, model="unknown"),
        ]
    )
    one = grouped_correlation(t[t.model == "m"], "x", "y")
    both = grouped_correlation(t, "x", "y")
    assert (both.rho, both.n) == (one.rho, one.n)
    assert power_over_layers(t, "y", 0.9) > 0.5


def test_power_is_the_share_of_made_diagnostics_that_are_told():
    t = table({"y": noise(2, per_concept=False)}, 30)
    found = [power_over_layers(t, "y", rho, 5, n_trials=60) for rho in (0.0, 0.4, 0.8)]
    assert found[0] == 0
    assert found[0] <= found[1] < found[2]
    assert found[2] > 0.9
    assert power_over_layers(t, "y", 0.4, 1, n_trials=60) > found[1]
    constant = table({"y": lambda c, i: 0.0 * i}, 12)
    assert math.isnan(power_over_layers(constant, "y", 0.5))
    assert power_over_layers(table({"y": noise(2)}, 2), "y", 0.9, 17) == 0
    for wrong in ((0.5, 0), (1.5, 1)):
        with pytest.raises(BadValueError, match="between -1 and 1"):
            power_over_layers(t, "y", *wrong)


def test_what_is_detectable_is_told_four_times_out_of_five():
    rng = np.random.default_rng(0)
    told = []
    for _ in range(120):
        y, noise_of_it, unrelated = rng.normal(size=(3, 30))
        t = table({"x": lambda c, i, x=unrelated: x, "y": lambda c, i, y=y: y}, 30)
        least = detectable_over_layers(t, "x", "y", n_resamples=300)
        t["x"] = np.tile(least * y + math.sqrt(1 - least**2) * noise_of_it, 3)
        told.append(grouped_correlation(t, "x", "y", n_resamples=300).p <= 0.05)
    assert 0.6 < np.mean(told) < 0.97
    assert math.isnan(detectable_over_layers(t.assign(x=0.0), "x", "y"))


def test_layers_without_an_outcome_are_not_counted_among_those_that_could_be_told():
    t = table({"x": noise(1), "y": noise(3)}, 8)
    few = t.assign(y=t.y.where(t.layer < 4))
    whole, half = (predictor_league(x, ["x"], "y", controls=(), n_resamples=50) for x in (t, few))
    assert (whole.n_layers[0], half.n_layers[0]) == (8, 4)
    assert half.least_p[0] > whole.least_p[0]
    many = pd.concat([half, half], ignore_index=True).assign(p_holm=1.0)
    assert "4 layers have so few orders" in league_in_words(many)
