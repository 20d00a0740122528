"""Nulls of a race: which layer each has, how long it is asked, and what it says where it was left."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from steerscope.doses import Scale
from steerscope.judges.effects import PREFERENCE
from steerscope.runs.distinct import Groups
from steerscope.sites import Site
from steerscope.steering.interventions import Cell
from steerscope.studies.steering.nulls import NULL, first_order_layers, still_near
from steerscope.studies.steering.search import looks_of
from steerscope.studies.steering.stated import null_ranks
from steerscope.studies.steering.verdict import _nulls_missing
from tests.audits.recipes import direction as of_layer


@pytest.fixture(autouse=True)
def of_few(monkeypatch):
    monkeypatch.setattr("steerscope.studies.steering.stated._FEWEST", 2)


def rows_of(split, cells):
    """Rows of an effect in nats, by condition and prompt."""
    labels = {"split": split, "metric": "preference", "layer": 1, "status": "ok"}
    return [
        labels | {"cell": cell, "prompt": p, "value": v, "dose_natural": float(cell != "plain")}
        for cell, values in cells.items()
        for p, v in enumerate(values)
    ]


def named(name):
    """A condition of that name."""
    cell = Cell()
    cell.__dict__["key"] = name  # which is cached there
    return cell


def test_a_null_goes_on_unless_it_is_clearly_behind_on_the_prompts_that_both_have():
    labels = ["method", "stream", "head", "operator", "scope", "dose_absolute", "dose_relative"]
    mine = {"plain": [0.0] * 6, "mine": [2.0, 1.5, 2.5, 2.0, 9.0, 9.0]}
    theirs = {"plain": [0.0] * 6, "behind": [0.0, 0.1, -0.1, 0.0], "noisy": [9.0, -9.0, 4.0, 0.0]}
    theirs["ahead"] = [3.0, 3.0, 3.0, 3.0]
    table = pd.DataFrame([*rows_of("test", mine), *rows_of(NULL, theirs)])
    table = table.assign(**dict.fromkeys([*labels, "seed"], 0))
    nulls = [named(name) for name in ("behind", "noisy", "ahead")]
    near = still_near(table, PREFERENCE, "mine", nulls)
    assert [null.key for null in near] == ["noisy", "ahead"]


def test_the_layer_of_a_null_is_where_its_first_order_effect_is_largest():
    def direction(layer, unit, natural):
        return replace(of_layer(layer), unit=torch.tensor(unit), scale=Scale(natural, 1.0))

    family = {0: direction(0, [1.0, 0.0], 3.0), 1: direction(1, [0.0, 1.0], 1.0)}
    gradients = {
        Site("resid_post", 0): torch.tensor([[0.5, 9.0], [0.1, 9.0]]),  # 0.3 * 3
        Site("resid_post", 1): torch.tensor([[9.0, 0.8], [9.0, 0.6]]),  # 0.7 * 1
    }
    assert first_order_layers([family], gradients) == [family[0]]
    family[1] = direction(1, [0.0, 1.0], 1.5)
    assert first_order_layers([family], gradients) == [family[1]]


def test_nulls_are_looked_at_after_16_prompts_and_twice_as_many_each_time(monkeypatch):
    monkeypatch.setattr("steerscope.studies.steering.search.BESIDE", 16)
    assert list(looks_of(105)) == [16, 32, 64]
    assert list(looks_of(33)) == [16, 32]
    assert not list(looks_of(16))


def test_a_null_that_is_not_clearly_behind_where_it_was_left_allows_no_yes():
    labels = ["method", "stream", "head", "operator", "scope", "dose_absolute", "dose_relative"]
    mine = {"plain": [0.0] * 8, "mine": [2.0, 1.5, 2.5, 2.0, 0.0, 0.1, 0.2, 0.1]}
    theirs = {"plain": [0.0] * 8, "behind": [0.0, 0.1, -0.1, 0.0], "near": [1.9, 1.6, 2.3, 1.0]}
    table = pd.DataFrame([*rows_of("test", mine), *rows_of(NULL, theirs)])
    table = table.assign(**dict.fromkeys([*labels, "seed"], 0)).assign(method="mean_diff")
    table.loc[(table.split == NULL) & (table.cell != "plain"), "method"] = "null_random"
    table.loc[table.cell == "near", "seed"] = 1
    [rank] = null_ranks(table, PREFERENCE, "mine")
    assert (rank.p, rank.open, rank.items, rank.of) == (pytest.approx(1 / 3), 1, (4, 4), 8)
    assert (rank.best, rank.against) == (pytest.approx(1.7), 2.0)
    paired = Groups({"test": {"pairs": [0, 0, 0, 0, 1, 1, 1, 1]}})  # the first four say the same
    [once] = null_ranks(table, PREFERENCE, "mine", paired)
    assert (once.open, once.items, once.of) == (2, (1, 1), 2)
    unread = table.assign(value=table.value.where(table.prompt != 3))
    unread = unread[(unread.split == NULL) | (unread.prompt < 4)]
    [whole] = null_ranks(
        unread, PREFERENCE, "mine"
    )  # asked of all four, of which none could read the last
    assert (whole.open, whole.items, whole.of) == (0, (4, 4), 4)
    missing = _nulls_missing((replace(rank, n=19, p=0.05), replace(rank, n=19, p=0.05)))
    assert missing[-1] == (
        "1 of 19 random directions, each at its own best layer and dose, is not clearly behind on the first 4 of "
        "the 8, and was asked no further, p = 0.05"
    )


def test_nulls_whose_places_nothing_chose_are_no_test():
    labels = ["method", "stream", "head", "operator", "scope", "dose_absolute", "dose_relative"]
    mine, theirs = {"plain": [0.0] * 4, "mine": [2.0] * 4}, {"plain": [0.0] * 4, "null": [0.1] * 4}

    def table(screen):
        rows = [*rows_of("test", mine), *rows_of(NULL, theirs)]
        rows += rows_of("screen", {"plain": [0.5, -0.5], "null": screen})
        found = pd.DataFrame(rows).assign(**dict.fromkeys([*labels, "seed"], 0))
        return found.assign(method=found.cell.map({"null": "null_random"}).fillna("mean_diff"))

    assert null_ranks(table([0.5, -0.5]), PREFERENCE, "mine") == ()
    [rank] = null_ranks(table([0.5, -0.4]), PREFERENCE, "mine")
    assert rank.p == pytest.approx(0.5)
