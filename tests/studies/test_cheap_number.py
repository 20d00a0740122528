"""Preference against judged effect: hand arithmetic, and nothing where one was not measured."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import pytest

from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.studies.steering.cheap_number import cheap_number
from tests.helpers import row

SHOWN = Effect("shown", "share", "continuations that show it", "yes", "no")


def rows(metric, values):
    return [
        asdict(row(cell=cell, prompt=p, metric=metric, value=v, split="select", method=cell[0]))
        for cell, per_prompt in values.items()
        for p, v in enumerate(per_prompt)
    ]


def test_both_are_changes_from_plain_and_their_ranks_are_correlated():
    preference = {
        "plain": [1.0, 3.0],
        "a": [2.0, 4.0],
        "b": [0.0, 2.0],
        "c": [4.0, 6.0],
        "d": [1, 4],
    }
    shown = {"plain": [0, 1], "a": [0, 1], "b": [1, 1], "c": [0, 0], "d": [1, 1]}
    table = pd.DataFrame(rows("preference", preference) + rows("shown", shown))
    found = cheap_number(table, SHOWN)
    assert found.table.preference.to_dict() == {"a": 1.0, "b": -1.0, "c": 3.0, "d": 0.5}
    assert found.table.effect.to_dict() == {"a": 0.0, "b": 0.5, "c": -0.5, "d": 0.5}
    assert found.correlation.n == 4
    # Ranks 3, 1, 4, 2 and 2, 3.5, 1, 3.5: covariance -4.5, variances 5 and 4.5.
    assert found.correlation.rho == pytest.approx(-4.5 / (5 * 4.5) ** 0.5)


def test_nothing_is_said_where_only_one_was_measured():
    table = pd.DataFrame(rows("shown", {"plain": [0, 1], "a": [1, 1]}))
    assert cheap_number(table, SHOWN) is None
    assert cheap_number(table, PREFERENCE) is None
