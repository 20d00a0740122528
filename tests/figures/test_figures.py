"""The y-values of the traces, and the axis titles with their units."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from steerscope import figures
from steerscope.figures.files import drawn
from steerscope.figures.theme import BLUE, add_band, new_figure
from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.judges.microworld import LIMITS
from steerscope.statistics import Estimate
from steerscope.studies.steering.choice import SweetSpot
from steerscope.studies.steering.responses import predict_layers

SHARE = Effect(
    "flipped", "share", "continuations whose mood is flipped", "joyful", "gloomy", limits=LIMITS
)
CHOSEN = SweetSpot(
    "mean_diff12.0", 1, 2.0, 0.4, 8.0, Estimate(0.7, 0.6, 0.8, 50), 0.001, 4, broken=False
)


def condition(layer, dose, effect, *, method="mean_diff", kl=0.1, over=""):
    return {
        "cell": f"{method}{layer}{dose}", "method": method, "layer": layer, "dose_natural": dose,
        "effect": effect, "low": effect - 0.1, "high": effect + 0.1, "kl_nats": kl,
        "broken": bool(over), "over": over, "n": 50,
    }  # fmt: skip


SUMMARY = pd.DataFrame(
    [
        condition(0, 1.0, 0.1, kl=0.01),
        condition(1, 1.0, 0.4, kl=0.02),
        condition(0, 2.0, 0.2, kl=0.04),
        condition(1, 2.0, 0.7, kl=0.08, over="kept_topic"),
        condition(0, -1.0, 0.3),
        condition(1, -1.0, 0.5),
        condition(0, 1.0, 0.02, method="random"),
        condition(1, 1.0, 0.04, method="random"),
    ]
)


def lines(figure):
    return {t.name: list(t.y) for t in figure.data if t.type == "scatter" and t.fill != "toself"}


def titles(figure):
    return figure.layout.xaxis.title.text, figure.layout.yaxis.title.text


def test_layer_sweep_shows_both_signs_and_the_null_in_percent():
    figure = figures.layer_sweep(SUMMARY, SHARE, method="mean_diff", dose=1.0)
    assert lines(figure) == {
        "+1: towards joyful": [10.0, 40.0],
        "-1: towards gloomy": [30.0, 50.0],
        "+1: random directions": [2.0, 4.0],
    }
    bands = [t for t in figure.data if t.fill == "toself"]
    assert list(bands[0].y) == pytest.approx([20.0, 50.0, 30.0, 0.0])
    assert titles(figure) == ("layer (0-based)", "continuations whose mood is flipped (%)")


def test_the_band_of_several_random_directions_is_from_their_lowest_to_their_highest():
    effects = {0: (0.0, 0.1, 0.2), 1: (0.1, math.nan, 0.3)}
    null = [
        condition(layer, 1.0, effect, method="random") | {"seed": seed}
        for layer, seeds in effects.items()
        for seed, effect in enumerate(seeds)
    ]
    rows = pd.concat([SUMMARY[SUMMARY.method != "random"], pd.DataFrame(null)])
    figure = figures.layer_sweep(rows, SHARE, method="mean_diff", dose=1.0)
    name = "+1: random directions"
    [mean, unknown] = lines(figure)[name]  # nothing is said of a layer where one overflowed
    assert (mean, math.isnan(unknown)) == (pytest.approx(10.0), True)
    table = drawn(figure)
    band = table[(table.trace == name) & (table.part == "band")].y.dropna()
    assert set(band.round(9)) == {0.0, 20.0}


NAN = math.nan


@pytest.mark.parametrize(
    ("low", "stretches"),
    [
        ([0.1, 0.2, 0.3], [[0, 1, 2]]),
        ([0.1, 0.2, NAN, 0.3, 0.4, NAN, 0.5], [[0, 1], [3, 4], [6]]),
        ([0.1], [[0]]),
        ([NAN, NAN], []),
    ],
)
def test_a_band_shows_every_interval_that_is_known_and_nothing_between(low, stretches):
    figure = new_figure("", "x", "y")
    add_band(figure, list(range(len(low))), low, [v + 1 for v in low], BLUE, "band")
    assert [list(t.x) for t in figure.data] == [[*part, *part[::-1]] for part in stretches]
    for trace, part in zip(figure.data, stretches, strict=True):
        assert list(trace.y) == [low[i] + 1 for i in part] + [low[i] for i in part[::-1]]
        assert (trace.line.width > 0) == (len(part) == 1)  # a polygon of one point has no area
    edges = drawn(figure)
    assert len(edges) == 2 * sum(v == v for v in low)
    assert set(edges.get("part", [])) <= {"band"}


def test_one_layer_or_dose_alone_has_its_interval_in_every_figure_with_bands():
    one = SUMMARY[(SUMMARY.layer == 1) & (SUMMARY.dose_natural == 1.0)]
    null = one[one.method == "random"]
    for figure in (
        figures.layer_sweep(one, SHARE, method="mean_diff", dose=1.0),
        figures.dose_fan(one, null, SHARE, method="mean_diff"),
    ):
        bars = [t for t in figure.data if t.fill == "toself"]
        assert bars
        assert all(t.line.width > 0 and t.y[0] > t.y[1] for t in bars)


@pytest.mark.parametrize("unit", ["relative", "absolute"])
def test_a_dose_that_layers_share_in_another_unit_is_one_dose(unit):
    same = {"mean_diff": 0.3, "random": 0.3}
    there = SUMMARY[SUMMARY.dose_natural == 1.0]
    # what is 0.3 of an activation is another number of natural units at each layer
    rows = there.assign(dose_natural=2.0 + there.layer, **{f"dose_{unit}": there.method.map(same)})
    figure = figures.layer_sweep(rows, SHARE, method="mean_diff", dose=0.3, unit=unit)
    assert lines(figure)["+0.3: towards joyful"] == [10.0, 40.0]
    assert figure.layout.title.text.endswith(f"0.3 {unit}")
    chosen = replace(CHOSEN, **{f"dose_{unit}": 0.3})
    grid = figures.sweet_spot_map(rows, SHARE, method="mean_diff", chosen=chosen, unit=unit).data[0]
    assert list(grid.y) == ["+0.3"]
    [line] = figures.kl_by_depth(rows, method="mean_diff", unit=unit).data
    assert line.name == f"+0.3 {unit}"


def test_an_effect_in_nats_stays_in_nats():
    figure = figures.layer_sweep(SUMMARY, PREFERENCE, method="mean_diff", dose=1.0)
    assert lines(figure)["+1: towards positive"] == [0.1, 0.4]
    assert titles(figure)[1] == "shift of the log-odds along the dose (nats)"


def test_the_map_has_every_cell_a_cross_where_broken_and_a_ring_at_the_choice():
    figure = figures.sweet_spot_map(SUMMARY, SHARE, method="mean_diff", chosen=CHOSEN)
    heat, crosses, ring = figure.data
    assert list(heat.y) == ["-1", "+1", "+2"]
    assert [list(row) for row in heat.z] == [
        pytest.approx(row) for row in ([30.0, 50.0], [10.0, 40.0], [20.0, 70.0])
    ]
    assert (list(crosses.x), list(crosses.y)) == ([1], ["+2"])
    assert (list(ring.x), list(ring.y)) == ([1], ["+2"])
    assert ring.cliponaxis is False  # a ring at the last layer is whole
    assert titles(figure)[1] == "dose (natural units = distances of the class means)"


def test_layers_between_two_that_were_measured_are_empty_on_the_map():
    apart = SUMMARY.assign(layer=SUMMARY.layer * 3)
    chosen = replace(CHOSEN, layer=3)
    heat = figures.sweet_spot_map(apart, SHARE, method="mean_diff", chosen=chosen).data[0]
    assert list(heat.x) == [0, 1, 2, 3]
    assert [list(row)[1:3] for row in heat.text] == [["not measured"] * 2] * 3
    assert all(math.isnan(value) for row in heat.z for value in list(row)[1:3])


def test_the_map_says_why_nothing_is_known_of_a_cell():
    lost = SUMMARY.dose_natural == 2.0
    gone = {name: SUMMARY[name].mask(lost) for name in ("effect", "low", "high")}
    unread = SUMMARY.assign(**gone, n=SUMMARY.n.mask(lost, 0))
    overflowed = unread.assign(kl_nats=SUMMARY.kl_nats.mask(lost))
    for rows, said in (
        (unread, "not known: no text could be read<br>KL 0.04 nats per position"),
        (overflowed, "not known: logits are not finite"),
    ):
        heat = figures.sweet_spot_map(rows, SHARE, method="mean_diff", chosen=CHOSEN).data[0]
        assert heat.text[2][0] == said
        assert heat.text[2][1] == f"{said.replace('0.04', '0.08')}<br>over the limit: kept_topic"
        assert not any("nan" in cell for row in heat.text for cell in row)
        assert heat.text[1][0] == "10.0 % [0.0, 20.0], n = 50<br>KL 0.01 nats per position"


def test_a_method_that_was_not_measured_has_an_empty_map():
    heat, *_ = figures.sweet_spot_map(SUMMARY, SHARE, method="repe", chosen=CHOSEN).data
    assert len(heat.x) == len(heat.y) == 0


def test_a_dose_that_two_layers_have_but_for_rounding_is_one_row_of_a_map():
    moved = SUMMARY.dose_natural.where(SUMMARY.layer == 0, SUMMARY.dose_natural * (1 + 1e-15))
    rounded = SUMMARY.assign(dose_natural=moved)
    assert rounded.dose_natural.nunique() > SUMMARY.dose_natural.nunique()
    expected, found = (
        figures.sweet_spot_map(s, SHARE, method="mean_diff", chosen=CHOSEN).data[0]
        for s in (SUMMARY, rounded)
    )
    assert (list(found.y), list(map(list, found.z))) == (
        list(expected.y),
        list(map(list, expected.z)),
    )


def test_dose_response_draws_intervals_for_the_method_and_seeds_for_controls():
    curves = pd.DataFrame(
        [
            {"method": m, "dose_natural": d, "effect": e, "low": e - 0.1, "high": e + 0.1,
             "lowest_seed": e - 0.01, "highest_seed": e + 0.01, "n_seeds": s, "n": 50,
             "plain": 0.09 if d > 0 else 0.05}
            for m, s, points in (
                ("mean_diff", 1, ((1.0, 0.5), (2.0, 0.8))),
                ("random", 5, ((1.0, 0.02), (2.0, 0.03), (-1.0, 0.04))),
            )
            for d, e in points
        ]
    )  # fmt: skip
    figure = figures.dose_response(curves, SHARE, layer=3)
    drawn = [(t.name, list(t.x), list(t.y)) for t in figure.data if t.fill != "toself"]
    assert ("mean_diff", [1.0, 2.0], [50.0, 80.0]) in drawn
    assert ("random (5 seeds)", [1.0, 2.0], [2.0, 3.0]) in drawn
    # Either sign has prompts of its own, and so a plain share of its own.
    plain = [(x, y) for name, x, y in drawn if name == "plain"]
    assert plain == [([-1.0, 0.0], [5.0, 5.0]), ([0.0, 2.0], [9.0, 9.0])]
    bands = {(t.name, t.x[0] > 0): list(t.y) for t in figure.data if t.fill == "toself"}
    assert bands["mean_diff", True] == pytest.approx([60.0, 90.0, 70.0, 40.0])
    assert bands["random (5 seeds)", True] == pytest.approx([3.0, 4.0, 2.0, 1.0])


def test_kl_by_depth_is_logarithmic_and_in_nats():
    figure = figures.kl_by_depth(SUMMARY, method="mean_diff")
    assert lines(figure) == {"+1 natural": [0.01, 0.02], "+2 natural": [0.04, 0.08]}
    assert figure.layout.yaxis.type == "log"
    assert "nats per position" in titles(figure)[1]


def test_kl_that_is_0_throughout_is_drawn_and_not_on_a_logarithmic_axis():
    figure = figures.kl_by_depth(SUMMARY.assign(kl_nats=0.0), method="mean_diff")
    assert lines(figure) == {"+1 natural": [0.0, 0.0], "+2 natural": [0.0, 0.0]}
    assert figure.layout.yaxis.type != "log"


def test_eigengaps_show_heads_null_and_the_weakest_link():
    heads = pd.DataFrame(
        {
            "layer": [0, 0, 1, 1], "head": [0, 1, 0, 1], "eigengap": [0.5, 0.3, 0.2, 0.6],
            "eigengap_low": [0.4, 0.2, 0.1, 0.5], "eigengap_high": [0.6, 0.4, 0.4, 0.7],
            "eigengap_null": [0.1, 0.1, 0.1, 0.1],
        }
    )  # fmt: skip
    figure = figures.eigengap_heads(heads)
    found = lines(figure)
    assert found["head, 95 % interval"] == [0.5, 0.3, 0.2, 0.6]
    assert found["weakest link of the layer"] == [0.3, 0.2]
    assert figure.data[0].error_y.array == pytest.approx([0.1, 0.1, 0.2, 0.1])


def test_a_diagnostic_is_drawn_against_the_effect_with_its_correlation():
    found = predict_layers(
        "gap", {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}, {0: 0.4, 1: 0.3, 2: 0.2, 3: 0.1}
    )
    figure = figures.diagnostic_scatter(found, SHARE, x_title="gap (ratio)")
    assert list(figure.data[0].x) == [0.1, 0.2, 0.3, 0.4]
    assert list(figure.data[0].y) == pytest.approx([40.0, 30.0, 20.0, 10.0])
    assert "-1.00" in figure.layout.title.text
    assert "n = 4 layers" in figure.layout.title.text


def test_tokens_are_bars_in_logits():
    figure = figures.token_effects(
        [{"token": " happy", "logit": 2.0}], [{"token": " sad", "logit": -1.5}], site="resid_post.3"
    )
    assert [list(t.x) for t in figure.data] == [[2.0], [-1.5]]
    assert "(logits)" in titles(figure)[0]


def test_the_league_shows_correlations_intervals_and_what_survives_correction():
    league = pd.DataFrame(
        {
            "diagnostic": ["gradient", "weakest_gap", "norm"], "expected_sign": [1, -1, 0],
            "rho": [0.8, -0.3, 0.1], "low": [0.6, -0.7, -0.4], "high": [0.9, 0.2, 0.5],
            "p": [0.001, 0.2, 0.7], "p_holm": [0.003, 0.4, 0.7], "q_bh": [0.003, 0.3, 0.7],
            "partial_rho": [0.7, -0.1, float("nan")], "n_points": 24, "n_layers": 8, "n_groups": 3,
        }
    )  # fmt: skip
    figure = figures.predictor_league(league, outcome="steerability")
    sure, unsure, partial = figure.data
    assert (list(sure.x), list(sure.y)) == ([0.8], ["gradient (+)"])
    assert (list(unsure.x), list(unsure.y)) == ([-0.3, 0.1], ["weakest gap (−)", "norm"])
    assert list(sure.error_x.arrayminus) == pytest.approx([0.2])
    assert list(partial.x) == [0.7, -0.1]
    assert "n = 24 points: 8 layers, 3 model-concept groups" in figure.layout.xaxis.title.text
