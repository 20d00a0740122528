"""Figures of the transfer table show the numbers of the table."""

from __future__ import annotations

import pandas as pd
import pytest

from steerscope import figures


def test_the_responses_pass_through_zero_and_the_measured_points():
    rows = [
        ("lora", c, False, "target", 0.1 * c, 0.1 * c - 0.02, 0.1 * c + 0.03) for c in (-1.0, 1.0)
    ]
    rows += [
        ("plain", 0.0, False, "target", 0.0, 0.0, 0.0),
        ("lora", 3.0, True, "target", 9.0, 9.0, 9.0),
    ]
    columns = ["technique", "coefficient", "matched", "metric", "change", "low", "high"]
    figure = figures.transfer_responses(pd.DataFrame(rows, columns=columns), {"target": "share"})
    (line,) = figure.data
    assert list(line.x) == [-1.0, 0.0, 1.0]
    assert list(line.y) == pytest.approx([-0.1, 0.0, 0.1])
    assert list(line.error_y.array) == pytest.approx([0.03, 0.0, 0.03])
    assert figure.layout.xaxis.title.text == "coefficient c"


def test_the_comparison_is_ordered_and_names_its_kl():
    table = pd.DataFrame(
        [("a", 0.3, 0.2, 0.5, 0.11, 0.10, 0.12), ("b", 0.1, 0.0, 0.2, 0.09, 0.08, 0.10)],
        columns=["technique", "gain", "low", "high", "kl", "kl_low", "kl_high"],
    )
    figure = figures.transfer_at_one_kl(table, words="gain (share)", kl=0.1)
    names = [label.partition("<br>") for label in figure.data[0].y]
    assert [name for name, _, _ in names] == ["b", "a"]
    assert "0.110 [0.100, 0.120]" in names[1][2]
    assert "KL (nats)" in figure.layout.yaxis.title.text
    assert list(figure.data[0].error_x.array) == pytest.approx([0.1, 0.2])
    assert "0.1 nats" in figure.layout.title.text
    assert figure.layout.xaxis.title.text == "gain (share)"
