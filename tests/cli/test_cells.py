"""Tables of commands in which some numbers are not known: none of them prints `nan`."""

from __future__ import annotations

import math

import pandas as pd

from steerscope.cli.adapter import _conditions, _curves
from steerscope.cli.bench import _shown
from steerscope.cli.carry import _maps
from steerscope.cli.cells import estimate, number, p_value
from steerscope.cli.compare import _ranked
from steerscope.cli.dilemmas import _shown as _values
from steerscope.cli.sae import _looked_at, quality_lines
from steerscope.cli.shared import say
from steerscope.cli.weights import _stated
from steerscope.judges.effects import Effect
from steerscope.sae.quality import SaeQuality
from steerscope.statistics import Estimate
from steerscope.texts.showing import counted

NAN = math.nan
FLIPPED = Effect("flipped", "share", "stories flipped", "joyful", "gloomy")


def test_a_number_that_is_not_known_is_said_to_be():
    assert number(0.1234, ".2f") == "0.12"
    assert number(NAN, ".2f") == "not known"
    assert number(NAN, ".2f", "not measured") == "not measured"
    assert (p_value(0.0312), p_value(NAN)) == ("0.031", "-")
    assert estimate(0.5, 0.25, 0.75, "+.2f") == "+0.50 [+0.25, +0.75]"
    assert estimate(NAN, 0.25, 0.75, "+.2f") == "not known"
    assert estimate(0.5, NAN, 0.75, ".1f") == "0.5"  # without an interval


def test_zero_has_no_minus_and_the_end_of_a_difference_its_side_of_zero():
    assert (number(-0.001, ".2f"), number(-0.001, "+.2f")) == ("0.00", "0.00")
    assert estimate(-0.2, -0.4, -0.0004, "+.3f") == "-0.200 [-0.400, -0.0004]"
    assert estimate(-0.2, -0.4, -1e-12, "+.3f") == "-0.200 [-0.400, 0.000]"
    assert estimate(0.0, -0.0004, 0.2, ".3f") == "0.000 [0.000, 0.200]"
    assert estimate(1234.5, 1000.0, 2000.0, ",.0f") == "1,234 [1,000, 2,000]"
    assert (counted(1, "row"), counted(0, "row"), counted(2000, "row")) == (
        "1 row", "0 rows", "2,000 rows",
    )  # fmt: skip


def frame(known, **labels):
    """A row of known numbers, and one of which none is known."""
    return pd.DataFrame([{**labels, **known}, {**labels, **dict.fromkeys(known, NAN)}])


def test_no_table_of_a_command_prints_nan():
    ends = {"low": 0.1, "high": 0.3}
    answers = {"value": 0.2, **ends, "change": 0.1, "change_low": 0.0, "change_high": 0.2}
    found = frame(
        {**answers, "lost": 1.0, "won": 3.0, "p_holm": 0.04},
        split="t", metric="acc", cell="dose 1", n=9,
    )  # fmt: skip
    ranking = frame(
        {"effect": 0.5, **ends, "null_max": 0.2, "p_holm": 0.01},
        place="resid_post", matching="kl", method="pca", layer=3, null=False, standing="top",
    )  # fmt: skip
    conditions = frame(
        {"value": 0.2, "change": 0.1, **ends},
        technique="adapter", coefficient=1.0, matched=False, metric="kl",
    )  # fmt: skip
    curve = {f"{p}{e}": 0.1 for p in ("odd", "even") for e in ("", "_low", "_high")}
    edits = frame(
        {"effect": 0.1, **ends, "capability_change": 0.0, "perplexity_ratio": 1.02, "kl_nats": 0.1},
        cell="edit=power", target="joyful", front=False,
    )  # fmt: skip
    shown = {
        "bench": _shown(found, {}),
        "compare": _ranked(ranking, FLIPPED),
        "conditions": _conditions(conditions),
        "curves": _curves(frame(curve, technique="adapter", metric="kl", coefficient=1.0)),
        "carry": _maps("maps:", frame({"r2": 0.4, **ends, "null_high": 0.1, "p": 0.05}, map="ridge")),
        "weights": _stated(edits, FLIPPED),
    }  # fmt: skip
    for name, lines in shown.items():
        assert "nan" not in "\n".join(lines), name
        assert "not known" in lines[-1], name
        assert "not known" not in lines[-2], name
    unmeasured = "not known  not measured         not known  not known      -"
    assert " ".join(shown["weights"][-1].split()).endswith(" ".join(unmeasured.split()))


def test_a_value_of_which_nothing_is_known_is_not_said_to_have_too_few_dilemmas():
    numbers = ["n", "effect", "low", "high", "p_holm"]
    told = {
        "works": ([9, 0.5, 0.2, 0.8, 0.01], [8, 0.1, -0.1, 0.3, 0.6]),
        "few": ([2, 0.5, NAN, NAN, NAN], [3, 0.1, NAN, NAN, NAN]),
        "lost": ([0, NAN, NAN, NAN, NAN], [0, NAN, NAN, NAN, NAN]),
    }
    values = pd.DataFrame(
        {"technique": name, "value": str(i), "is_target": i == 0, "matched": True}
        | dict(zip(numbers, row, strict=True))
        for name, both in told.items()
        for i, row in enumerate(both)
    )
    works, few, lost = (" ".join(line.split()) for line in _values(values, "truth")[-3:])
    assert works == "works +0.500 [+0.200, +0.800] 9 0.01 0 of 1 0.100"
    assert few == "few too few 2 - - -"
    assert lost == "lost not known 0 - - -"


def test_a_line_of_a_command_gives_the_terminal_nothing_to_obey(capsys):
    say("a\x1b[2J\u202eb\tc\xa0d 🙂")
    assert capsys.readouterr().out == "a\\x1b[2J\\u202eb\tc\xa0d 🙂\n"


def test_the_quality_of_an_autoencoder_on_one_text_has_no_interval():
    one = Estimate(0.5, math.nan, math.nan, 1)
    lines = quality_lines(SaeQuality(one, one, one, one, one, one, one, 1, 30))
    assert "nan" not in "\n".join(lines)
    assert lines[0].endswith("  0.5")


def test_what_there_is_one_of_is_said_in_the_singular():
    assert _looked_at(130, 1) == "on 130 tokens of 1 row; 95 % intervals"
