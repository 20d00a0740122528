"""What is drawn is where the table says: on which axis, in which unit, with which end of an interval where."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from steerscope import figures
from steerscope.figures.files import drawn
from steerscope.studies.lenses.findings import COMMON, DRIFT, RARE, STILL
from tests.figures.gallery import ANATOMY, EXAMPLES, FRONT, SHARE


def trace(figure, name, number=0):
    """One of the traces of a name."""
    return [t for t in figure.data if t.name == name][number]


def test_a_fan_has_doses_across_and_percent_up_and_the_band_of_the_null_below():
    figure = EXAMPLES["dose_fan"]()
    line = trace(figure, "layer 1", 1)
    assert list(line.x) == [1.0, 2.0]
    assert list(line.y) == pytest.approx([35.0, 60.0])
    band = trace(figure, "random directions", 1)
    corners = set(zip(band.x, (round(y) for y in band.y), strict=True))
    assert corners == {(1.0, 40), (1.0, 60), (2.0, 70), (2.0, 90)}
    assert "natural" in figure.layout.xaxis.title.text
    assert "%" in figure.layout.yaxis.title.text


def test_a_phase_is_in_the_column_of_its_layer_and_the_row_of_its_dose():
    [cells] = [t for t in EXAMPLES["dose_phase_diagram"]().data if t.type == "heatmap"]
    assert (list(cells.x), list(cells.y)) == ([0, 1], ["+1", "+2"])
    assert [list(row) for row in cells.text] == [["–", "●"], ["●", "×"]]


def test_a_side_effect_has_its_change_its_interval_and_its_null():
    figure = EXAMPLES["side_effects"]()
    asked, others = trace(figure, "asked for"), trace(figure, "not asked for")
    assert (list(asked.x), list(asked.y)) == ([65.0], ["flipped"])
    assert list(asked.error_x.array) == [9.0]
    assert list(asked.error_x.arrayminus) == [8.0]
    assert list(others.x) == [-3.0, 12.0]
    assert list(trace(figure, "random directions of that length").x) == [2.0, 1.0, 0.5]
    assert "percentage points" in figure.layout.xaxis.title.text


def test_a_lens_of_which_no_word_was_seen_is_not_among_those_that_are_not_told_from_plain_text():
    said = [DRIFT, STILL, RARE, COMMON]
    table = pd.DataFrame(
        {"lens": ["a", "b", "c", "d"], "change": [2.0, 0.1, 0.0, 0.0], "low": 0.0, "high": 3.0, "n": 60,
         "threshold": 0.5, "says": said}
    )  # fmt: skip
    figure = figures.lens_dots(table)
    assert [list(trace(figure, name).y) for name in said] == [["a"], ["b"], ["c"], ["d"]]
    assert "n = 60 prompts" in figure.layout.annotations[0].text


def test_a_front_has_nats_across_and_points_up():
    figure = EXAMPLES["pareto_front"]()
    gain, steered = trace(figure, "gain"), trace(figure, "mean difference (steering)")
    assert (list(gain.x), list(gain.y)) == ([0.1], [20.0])
    assert (list(steered.x), list(steered.y)) == ([0.2], [60.0])
    assert list(steered.error_y.array) == pytest.approx([10.0])
    assert "nats" in figure.layout.xaxis.title.text
    assert "points" in figure.layout.yaxis.title.text


def test_what_is_drawn_at_the_end_of_an_axis_has_its_own_number_beside_the_figure():
    front = figures.pareto_front(FRONT.assign(kl_nats=[0.00003, 0.1, 0.2]), SHARE)
    assert list(trace(front, "gain").x) == [0.001]  # a logarithmic axis has to end
    kl = drawn(front).groupby("trace").x.min()
    assert kl["gain"] == kl["front of the plane"] == 0.00003
    assert trace(front, "gain").customdata[0][0] == 0.00003
    heads = drawn(EXAMPLES["ridge_heads"]())
    assert heads[heads.trace == "ridge, exponential kernel"].y.tolist() == [0.4, -2.0]


def test_a_front_tells_small_effects_in_their_unit_and_conditions_by_their_names():
    nats = replace(SHARE, metric="leaning", unit="nats")
    tiny = FRONT.assign(effect=0.045, low=0.04, high=0.05)
    [gain] = [t for t in figures.pareto_front(tiny, nats).data if t.name == "gain"]
    assert list(gain.text) == ["gain down.5 +0.3"]
    assert "%{y:+.3g} nats" in gain.hovertemplate
    share = trace(figures.pareto_front(tiny, SHARE), "mean difference (steering)")
    assert list(share.text) == ["mean_diff at layer 5"]
    assert "points [" in share.hovertemplate


def test_a_roc_has_the_false_positives_across():
    figure = EXAMPLES["threshold_roc"]()
    curve = trace(figure, "every threshold")
    assert (list(curve.x), list(curve.y)) == ([0.0, 0.5], [0.0, 1.0])
    assert "below" in figure.layout.xaxis.title.text
    assert "above" in figure.layout.yaxis.title.text


def test_a_lens_has_positions_across_and_layers_up():
    [cells] = EXAMPLES["lens_map"]().data
    assert (list(cells.x), list(cells.y)) == ([0, 1], [0, 1, 2])
    assert [list(row) for row in cells.z] == [pytest.approx([p, p]) for p in (0.1, 0.3, 0.5)]
    assert [[word.strip() for word in row] for row in cells.text] == [["One", "was"]] * 3


def test_a_head_is_at_its_block_and_what_is_below_minus_one_is_drawn_there():
    figure = EXAMPLES["ridge_heads"]()
    ridge = trace(figure, "ridge, exponential kernel")
    assert [round(x) for x in ridge.x] == [0, 1]
    assert list(ridge.y) == [0.4, -1.0]
    assert list(trace(figure, "mean of the values so far").y) == [0.2, 0.1]


def test_a_bar_is_that_of_its_tokenizer():
    figure = EXAMPLES["tokenizer_bars"]()
    assert {t.name: list(t.y) for t in figure.data} == {"a": [1.2], "b": [1.5]}
    assert figure.layout.yaxis.title.text == "tokens per word"


def test_every_panel_of_an_anatomy_has_its_own_quantity_and_band():
    figure = EXAMPLES["layer_anatomy"]()
    for axis, name in (("y", "norm"), ("y2", "separation"), ("y3", "stability")):
        [line] = [t for t in figure.data if t.name == name and t.mode == "lines+markers"]
        [band] = [t for t in figure.data if t.name == name and t.mode != "lines+markers"]
        assert (line.yaxis, band.yaxis) == (axis, axis)
        assert list(line.y) == list(ANATOMY[name])
        assert set(band.y) == {*ANATOMY[f"{name}_low"], *ANATOMY[f"{name}_high"]}
        assert name in figure.layout[axis.replace("y", "yaxis")].title.text or name == "norm"
