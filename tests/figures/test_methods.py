from __future__ import annotations

import pandas as pd
import pytest

from steerscope import figures
from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.studies.methods.findings import BETWEEN, LOST, NULL, OWN, TOP

SHARE = Effect("flipped", "share", "continuations whose mood is flipped")
STANDINGS = {
    "mean_diff": (0.7, TOP), "repe": (0.4, BETWEEN), "pca_centred": (0.1, LOST), "random": (0.05, NULL),
}  # fmt: skip


def ranking():
    return pd.DataFrame(
        [
            {
                "place": OWN, "matching": matching, "method": method, "null": standing == NULL,
                "effect": effect + shift, "low": effect + shift - 0.02, "high": effect + shift + 0.1,
                "n": 200, "null_low": 0.01, "null_high": 0.12, "null_max": 0.15, "n_nulls": 24,
                "p": None if standing == NULL else 0.01, "p_holm": 0.03, "layer": 3,
                "dose_natural": 2.0, "kl_nats": 0.2, "standing": standing,
            }
            for matching, shift in (("kl", 0.0), ("norm", 0.1))
            for method, (effect, standing) in STANDINGS.items()
        ]
    )  # fmt: skip


def test_the_forest_shows_effects_intervals_and_the_null_band_in_percent():
    words = {"kl": "KL (0.2 nats)", "norm": "length (0.5 relative)"}
    figure = figures.method_forest(ranking(), SHARE, place=OWN, matchings=words)
    by_panel = {
        panel: {
            y: x for t in figure.data if t.xaxis == panel for x, y in zip(t.x, t.y, strict=True)
        }
        for panel in ("x", "x2")
    }
    assert by_panel["x"] == pytest.approx(
        {"mean diff": 70.0, "repe": 40.0, "pca centred": 10.0, "random": 5.0}
    )
    assert by_panel["x2"]["mean diff"] == pytest.approx(80.0)
    top = next(t for t in figure.data if t.name == TOP)
    assert list(top.error_x.array) == pytest.approx([10.0])
    assert list(top.error_x.arrayminus) == pytest.approx([2.0])
    bands = [(s.x0, s.x1) for s in figure.layout.shapes]
    assert bands == [(1.0, 12.0), (15.0, 15.0)] * 2
    assert figure.layout.xaxis.title.text == "continuations whose mood is flipped (%)"
    assert figure.layout.yaxis.title.text == "method"
    assert list(figure.layout.yaxis.categoryarray) == ["random", "pca centred", "repe", "mean diff"]
    said = " ".join(a.text for a in figure.layout.annotations)
    assert "KL (0.2 nats)" in said
    assert "n = 200" in said
    assert "24 null directions" in said
    assert "Holm over 6 comparisons" in said


def test_an_effect_in_nats_stays_in_nats():
    figure = figures.method_forest(ranking(), PREFERENCE, place=OWN, matchings={"kl": "KL"})
    assert list(next(t for t in figure.data if t.name == TOP).x) == [0.7]
    assert figure.layout.xaxis.title.text == "shift of the log-odds along the dose (nats)"


def test_both_pictures_of_methods_say_how_many_null_directions_are_not_known():
    rows = ranking().assign(null_lost=2)
    matched = {"matching": "kl", "words": "KL (0.2 nats)"}
    for figure in (
        figures.method_forest(rows, SHARE, place=OWN, matchings={"kl": "KL"}),
        figures.method_places(rows, SHARE, [OWN], **matched),
    ):
        said = " ".join(a.text for a in figure.layout.annotations)
        assert "2 more, whose logits are not finite or which do not reach the KL, count as" in said
    whole = figures.method_places(rows.assign(null_lost=0), SHARE, [OWN], **matched)
    assert "more, whose" not in " ".join(a.text for a in whole.layout.annotations)


def test_the_table_of_places_says_effect_interval_standing_and_the_strongest_null():
    rows = pd.concat([ranking().assign(place="k"), ranking().assign(place="up", null_max=0.4)])
    rows = rows[(rows.place != "up") | (rows.method != "repe")]
    figure = figures.method_places(
        rows, SHARE, ["up", "k", "v"], matching="kl", words="KL (0.2 nats)"
    )
    [table] = figure.data
    assert list(table.x) == ["up", "k", "v"]  # as they were asked for
    assert list(table.y) == ["largest null", "pca centred", "repe", "mean diff"]
    said = {y: list(row) for y, row in zip(table.y, table.text, strict=True)}
    assert said["mean diff"] == ["70 [68, 80] **", "70 [68, 80] **", ""]
    assert said["repe"] == ["", "40 [38, 50] *", ""]
    assert said["pca centred"][0] == "10 [8, 20]"
    assert said["largest null"] == ["40", "15", ""]
    assert [v is None for v in table.z[0]] == [False, False, True]
    caption = " ".join(a.text for a in figure.layout.annotations)
    assert "24 null directions" in caption
