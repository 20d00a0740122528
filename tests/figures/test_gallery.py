"""Laws of every public figure, in every look: traces, titled axes, titles that fit."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from steerscope import figures
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.figures.columns import COLUMN_INCHES, PIXELS_PER_INCH
from steerscope.figures.lettering import text_width, wrapped
from steerscope.figures.looks import Look, caption_of, captioned, dressed, parse_look
from tests.figures.gallery import CHOSEN, EXAMPLES, SHARE, condition

LOOKS = [Look(), Look("dark"), Look(columns=1), Look(columns=2), Look("dark", 1)]
UNIT = re.compile(
    r"\(.+\)|cosine|token|coefficient|number of|technique|claim|concept|pair|method|diagnostic|arm|position 0|direction|attribute"
)


def axes_in_use(figure):
    """Every straight axis that some trace is drawn on."""
    names = {
        ((getattr(t, f"{letter}axis", None) or letter).replace(letter, f"{letter}axis"))
        for t in figure.data
        if t.type != "scatterpolar"
        for letter in "xy"
    }
    return [figure.layout[name] for name in sorted(names)]


def is_strip(figure, axis):
    """Whether the only label on the axis says what it is: a strip beside aligned panels."""
    name = axis.plotly_name.replace("axis", "")
    labels = {y for t in figure.data if (t.yaxis or "y") == name for y in t.y}
    return labels == {"zone"}


def test_every_public_figure_has_an_example():
    assert sorted(EXAMPLES) == sorted(figures.__all__)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_every_axis_is_titled_and_no_figure_is_empty(name, look):
    figure = dressed(EXAMPLES[name](), look)
    assert any(_has_points(trace) for trace in figure.data)
    for axis in axes_in_use(figure):
        if axis.showticklabels is False or is_strip(figure, axis):
            continue
        if axis.plotly_name.startswith("y") and axis.matches:
            continue
        shared = axis.plotly_name.startswith("yaxis") and name in {"method_forest", "style_cosines"}
        assert shared or UNIT.search(axis.title.text or ""), (
            name,
            axis.plotly_name,
            axis.title.text,
        )


def _has_points(trace):
    values = (
        trace.z if trace.type == "heatmap" else trace.r if trace.type == "scatterpolar" else trace.x
    )
    return any(v is not None for v in values)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("columns", [1, 2])
def test_titles_fit_the_columns(name, columns):
    figure = dressed(EXAMPLES[name](), Look(columns=columns))
    layout = figure.layout
    assert layout.width == COLUMN_INCHES[columns] * PIXELS_PER_INCH
    assert text_width(layout.title.text, layout.title.font.size) <= layout.width
    plot = layout.width - layout.margin.l - layout.margin.r
    assert plot > 0.25 * layout.width, (plot, layout.width)
    for axis in axes_in_use(figure):
        text = axis.title.text or ""
        low, high = axis.domain or (0, 1)
        if axis.plotly_name.startswith("x") and " " in text:
            assert text_width(text, axis.title.font.size) <= max(plot * (high - low), 60), text


@pytest.mark.parametrize("name", EXAMPLES)
def test_dressing_leaves_the_figure_and_its_numbers_alone(name):
    figure = EXAMPLES[name]()
    before = figure.to_json()
    shown = dressed(figure, Look("dark", 1))
    assert figure.to_json() == before
    for old, new in zip(figure.data, shown.data, strict=True):
        for values in ("x", "y", "z", "r", "theta"):
            if values in old:
                assert old[values] == new[values]


def test_dark_figures_have_light_letters_and_no_colour_of_the_light_theme():
    figure = dressed(EXAMPLES["layer_sweep"](), Look("dark"))
    assert figure.layout.font.color == "#E8E8E8"
    text = figure.to_json().split('"template"')[0]
    assert "#0072B2" not in text
    assert "rgba(0,114,178" not in text


def test_the_caption_is_drawn_on_a_screen_and_left_to_the_paper_in_columns():
    figure = captioned(EXAMPLES["layer_sweep"](), "n = 50 prompts, intervals are 95 %.")
    assert caption_of(figure) == "n = 50 prompts, intervals are 95 %."
    on_screen = dressed(figure)
    assert "n = 50 prompts" in on_screen.layout.annotations[-1].text
    assert on_screen.layout.height > figure.layout.height
    assert not dressed(figure, Look(columns=1)).layout.annotations


def test_long_lines_are_broken_between_words():
    assert wrapped("one two three", 10, 45) == "one two<br>three"
    assert wrapped("kept<br>lines", 10, 500) == "kept<br>lines"
    assert text_width("ab<br>abcd", 10) == text_width("abcd", 10)


def test_unknown_looks_are_named():
    with pytest.raises(UnknownNameError, match="dark, light"):
        parse_look("sepia", None)
    with pytest.raises(BadValueError, match="1 or 2 columns, not 3"):
        parse_look("light", 3)


@pytest.mark.parametrize("columns", [None, 1, 2])
@pytest.mark.parametrize(("n_layers", "all_named"), [(5, True), (12, True), (80, False)])
def test_labels_of_layers_have_room_and_none_is_left_out_without_need(columns, n_layers, all_named):
    layers = range(n_layers)
    rows = pd.DataFrame([condition(layer, d, 0.3) for layer in layers for d in (-1.0, 1.0, 2.0)])
    drawn = (
        figures.layer_sweep(rows, SHARE, method="mean_diff", dose=1.0),
        figures.sweet_spot_map(rows, SHARE, method="mean_diff", chosen=CHOSEN),
        figures.kl_by_depth(rows, method="mean_diff"),
    )
    for figure in drawn:
        assert figure.layout.xaxis.dtick == 1
        shown = dressed(figure, Look(columns=columns))
        layout = shown.layout
        room = (layout.width - layout.margin.l - layout.margin.r) / n_layers
        step, size = layout.xaxis.dtick, layout.xaxis.tickfont.size or layout.font.size
        assert step * room > text_width(str(n_layers - 1), size)
        assert (step == 1) is all_named


def test_a_logarithmic_axis_of_few_decades_has_ticks_between_them():
    rows = pd.DataFrame([condition(layer, d, 0.3) for layer in range(3) for d in (1.0, 2.0)])
    for spread, step in ((1.0, "D2"), (1000.0, 1)):
        far = rows.assign(kl_nats=rows.kl_nats * spread**rows.layer)
        axis = figures.kl_by_depth(far, method="mean_diff").layout.yaxis
        assert (axis.type, axis.dtick) == ("log", step)
