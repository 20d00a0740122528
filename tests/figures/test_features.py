"""Figures of features show the numbers of their tables, with units on the axes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from steerscope import figures
from steerscope.errors import UnknownNameError
from steerscope.studies.features.feature_sets import FeatureSet
from steerscope.studies.features.overlap import overlap_table

A = FeatureSet("a", tuple(range(10)), 200, "made up")
B = FeatureSet("b", tuple(range(7, 17)), 200, "made up")


def test_the_overlap_has_its_chance_band_in_every_row():
    table = overlap_table([({"pair": "a | b"}, A, B), ({"pair": "a | a"}, A, A)], depths=[10])
    figure = figures.feature_overlap(table, by="pair")
    traces = {t.name: t for t in figure.data}
    assert list(traces["found"].x) == [3, 10]
    band = traces["chance: 95 % of the hypergeometric"]
    assert list(band.x[:2]) == table[["chance_low", "chance_high"]].iloc[0].tolist()
    assert "features" in figure.layout.xaxis.title.text
    assert figure.layout.title.text.endswith("the first 10 of each")


def test_sets_that_rank_fewer_are_not_said_to_have_k():
    short = FeatureSet("short", (0, 1, 2), 200, "made up")
    figure = figures.feature_overlap(
        overlap_table([({"pair": "short | a"}, short, A)], depths=[10]), by="pair"
    )
    assert figure.layout.title.text.endswith("the first 10 or fewer of each")


def test_the_jaccard_curve_is_ordered_by_k():
    table = overlap_table([({}, A, B)], depths=[10, 8, 9])
    found = figures.jaccard_curve(table).data[1]
    assert list(found.x) == [8, 9, 10]
    assert list(found.y) == pytest.approx([1 / 15, 2 / 16, 3 / 17])


def test_the_diffusion_is_in_percent_with_every_null_in_its_panel():
    rows = [
        {"null": null, "order": order, "n": n, "share": n / 4, "low": n / 8, "high": n / 3}
        for null in ("", "untrained", "permuted_decoder")
        for order in ("pursuit", "codes")
        for n in (2, 1)
        if (null, order) != ("permuted_decoder", "pursuit")
    ]
    figure = figures.feature_diffusion(pd.DataFrame(rows))
    lines = [t for t in figure.data if t.name == "the direction"]
    assert [list(t.y) for t in lines] == [[25.0, 50.0]] * 2
    assert sum((t.name or "").startswith("decoder permuted (") for t in figure.data) == 1
    assert "%" in figure.layout.yaxis.title.text


def test_scores_and_pareto_show_their_values():
    scores = pd.DataFrame(
        {
            "feature": range(12), "input_score": [0.1, 0.9, 0, 0] + [0.3] * 8,
            "output_score": [0.2, 0.0, 0.51, 0.52, *np.linspace(0, 0.7, 8)],
        }
    )  # fmt: skip
    figure = figures.score_scatter(scores, rho=-1.0, p=0.5)
    assert (list(figure.data[0].x[:2]), list(figure.data[0].y[:2])) == ([0.1, 0.9], [0.2, 0.0])
    medians, silent = figure.data[1:]
    assert (list(medians.x), list(medians.y)) == ([0.3], pytest.approx([0.35]))
    assert dict(zip(silent.y, silent.x, strict=True))[0.525] == sum(silent.x) == 2
    rows = [
        {
            "kl": kl,
            "method": method,
            "metric": metric,
            "value": v,
            "low": v - 0.1,
            "high": v + 0.1,
            "n": 30,
        }
        for method in ("contrastive", "plain")
        for kl, v in ((0.5, 0.6), (0.2, 0.4))
        for metric in ("flipped", "kept_topic")
    ]
    figure = figures.steering_pareto(
        pd.DataFrame(rows), effect="flipped", cost="kept_topic", words=("flips", "keeps")
    )
    assert [list(t.x) for t in figure.data[:2]] == [[40.0], [60.0]]
    assert [t.name for t in figure.data] == ["contrastive"] * 2 + ["plain"] * 2
    assert figure.layout.xaxis.title.text == "flips (%)"
    assert "n = 30 prompts" in figure.layout.title.text
    assert [a.text for a in figure.layout.annotations] == ["0.2 nats", "0.5 nats"]
    with pytest.raises(UnknownNameError, match="flipped, kept_topic"):
        figures.steering_pareto(
            pd.DataFrame(rows), effect="flipped", cost="grammar", words=("flips", "keeps")
        )
