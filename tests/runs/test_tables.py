"""Tables: estimates with intervals, units in the headers, escaping, the same bytes twice."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from steerscope.errors import BadValueError
from steerscope.report import tables_only
from steerscope.report.page import as_number_table
from steerscope.runs.tables import (
    Column,
    Table,
    as_latex,
    as_markdown,
    as_numbers,
    p_value,
    with_interval,
    write_table,
)

FRAME = pd.DataFrame(
    {
        "name": ["a_b", "50 % | x"],
        "share": [0.5, -0.0001],
        "low": [0.4, math.nan],
        "high": [0.6, 0.1],
    }
)
COLUMNS = (Column("name", "method"), Column("share", "share (%)", 1, False, "low", "high", 100.0))
TABLE = Table("shares", FRAME, COLUMNS, "n = 10 & 95 % intervals.")


def test_an_estimate_has_its_interval_in_brackets():
    assert with_interval(0.523, 0.41, 0.63, digits=2) == "0.52 [0.41, 0.63]"
    assert with_interval(0.5, -0.25, 1.0, digits=2, signed=True) == "+0.50 [-0.25, +1.00]"
    assert with_interval(0.5, math.nan, math.nan, digits=1) == "0.5"
    assert with_interval(math.nan, 0.0, 1.0, digits=1) == "–"
    assert with_interval(-0.001, -0.001, 0.2, digits=1) == "0.0 [0.0, 0.2]"


def test_markdown_escapes_bars_and_sets_numbers_to_the_right():
    assert as_markdown(TABLE).splitlines() == [
        "| method | share (%) |",
        "| --- | ---: |",
        "| a_b | 50.0 [40.0, 60.0] |",
        "| 50 % \\| x | 0.0 |",
        "",
        "n = 10 & 95 % intervals.",
    ]


def test_latex_has_rules_of_booktabs_and_no_bare_special_character():
    text = as_latex(TABLE)
    assert "\\toprule" in text
    assert "\\begin{tabular}{lr}" in text
    assert "a\\_b & 50.0 [40.0, 60.0] \\\\" in text
    assert "\\caption{n = 10 \\& 95 \\% intervals.}" in text
    assert "50 \\% | x" in text


def test_the_numbers_keep_every_digit_in_the_unit_of_their_title():
    numbers = as_numbers(TABLE)
    assert list(numbers) == ["method", "share (%)", "share (%), 95 % low", "share (%), 95 % high"]
    assert numbers["share (%)"].tolist() == [50.0, -0.01]


def test_the_same_table_gives_the_same_bytes(tmp_path):
    first = [p.read_bytes() for p in write_table(TABLE, tmp_path / "a")]
    assert first == [p.read_bytes() for p in write_table(TABLE, tmp_path / "b")]
    assert len(first) == 3


def test_a_column_that_the_frame_lacks_is_named():
    with pytest.raises(BadValueError, match="no column shear"):
        Table("shares", FRAME, (Column("shear", "share"),), "")


@pytest.mark.parametrize(
    ("p", "said"),
    [(0.0002, "0.0002"), (0.04321, "0.043"), (1.0, "1"), (0.0, "< 1e-15"), (math.nan, "–")],
)
def test_a_p_has_the_digits_that_count(p, said):
    assert p_value(p) == said


@pytest.mark.parametrize("name", ["p", "p_holm", "p_hypergeometric", "q_bh"])
def test_no_table_prints_a_small_p_as_nothing(name):
    frame = pd.DataFrame({name: [0.0002, math.nan], "gain": [0.12345, 0.5], "n": [3, 4]})
    kept = tables_only._table("arms", frame)
    for written in (as_markdown(kept), as_latex(kept), as_number_table(frame)):
        assert "0.0002" in written
        assert "0.123" in written
        assert "0.000 " not in written
        assert "nan" not in written
    assert as_numbers(kept)[name.replace("_", " ")].tolist()[0] == 0.0002
