"""Text of the user's in figures, pages and tables: shown letter by letter, and never run."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from steerscope import figures
from steerscope.figures.files import Plate, drawn, figure_page
from steerscope.report.page import as_figure
from steerscope.runs.spreadsheets import as_csv

HOSTILE = '"><img src=x onerror=alert(6)><!-- <script>a<br>b</script> &lt; &amp;'
TOKENS = [{"token": t, "logit": -1.85} for t in ("\ufffd", "\ufffd", "a<br>b", "\ufffd", "a<br>b")]


@pytest.fixture
def tokens():
    return figures.token_effects(TOKENS, TOKENS[:1], site=f"resid_post.1 {HOSTILE}")


def test_tokens_that_print_alike_have_a_bar_each(tokens):
    bars = [y for trace in tokens.data for y in trace.y]
    assert len(set(bars)) == len(bars) == 6
    assert [x for trace in tokens.data for x in trace.x] == [-1.85] * 6


def test_markup_in_a_name_is_letters_in_the_figure_and_itself_in_the_numbers(tokens):
    assert "<img" not in tokens.layout.title.text
    assert all("<br>" not in y for trace in tokens.data for y in trace.y)
    assert "'a<br>b'" in set(drawn(tokens).y)


def test_a_table_of_hostile_names_is_drawn_letter_by_letter():
    names = [HOSTILE, "=cmd|calc!A0"]
    rows = [
        {"first": names[0], "second": names[1], "cosine": 0.1, "measured": 0.2, "low": 0.1}
        | {"high": 0.3, "predicted": 0.2}
    ]
    figure = figures.interference_gram(pd.DataFrame(rows), site=HOSTILE)
    text = json.dumps(figure.to_plotly_json(), default=str)
    assert "<img" not in text
    assert "E(a+b) \\u2212<br>E(a)" in text  # our own line breaks stay
    assert set(drawn(figure).x.dropna()) >= set(names)


def test_a_page_of_a_figure_with_a_hostile_name_and_caption_holds_no_tag_of_it(tokens):
    plate = Plate(HOSTILE, tokens, HOSTILE)
    for page in (figure_page(plate), as_figure(plate)):
        before, ours = page.rsplit("Plotly.newPlot", 1)
        for part in (before[-3000:], ours):  # the rest is plotly itself
            assert "<img" not in part
            assert "<!--" not in part


def test_no_cell_of_text_is_a_formula_and_numbers_stay():
    table = pd.DataFrame(
        {"name": ["=1+1", "+a", "-a", "@a", "-", "\t=1", "a=1", None], "value": [-1.5] * 8}
    )
    lines = as_csv(table).splitlines()
    assert lines[1:5] == ["'=1+1,-1.5", "'+a,-1.5", "'-a,-1.5", "'@a,-1.5"]
    assert lines[5] == "-,-1.5"
    assert lines[6].startswith("'\t=1")
    assert lines[7] == "a=1,-1.5"
    assert lines[8] == ",-1.5"
    assert as_csv(pd.DataFrame({"=1+1": [0]})).splitlines()[0] == "'=1+1"
