"""The nulls of a study: where their kind can be drawn, and which of their conditions is chosen."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from steerscope.directions import find_direction
from steerscope.doses import Dose
from steerscope.runs.results import as_table
from steerscope.sites import Site
from steerscope.steering.scopes import Scope
from steerscope.studies.steering.nulls import (
    SCREEN,
    best_cells,
    best_layers,
    most_dose,
    most_kl,
    null_families,
    screened,
)
from tests.helpers import planted_contrast, row


def of_one_value(contrast):
    """The same contrast with texts that do not vary within their class."""
    sides = (contrast.positive, contrast.negative)
    same = [side.mean(dim=0).expand_as(side).clone() for side in sides]
    return replace(contrast, positive=same[0], negative=same[1])


def test_a_layer_where_texts_do_not_vary_has_no_null_of_their_covariance_and_others_have():
    contrast, _ = planted_contrast()
    found = {
        Site("resid_pre", 0): of_one_value(contrast),
        Site("resid_pre", 1): contrast,
    }
    families = null_families(found, 2, seed=0)
    layers = [(next(iter(f.values())).method, sorted(f)) for f in families]
    assert layers == [
        ("null_random", [0, 1]),
        ("null_random", [0, 1]),
        ("null_covariance_matched", [1]),
        ("null_covariance_matched", [1]),
    ]
    assert all(torch.isfinite(d.unit).all() for f in families for d in f.values())


def test_a_kind_that_no_layer_allows_has_no_nulls():
    contrast, _ = planted_contrast()
    families = null_families({Site("resid_pre", 0): of_one_value(contrast)}, 2, seed=0)
    assert {d.method for f in families for d in f.values()} == {"null_random"}


PLAIN = (5.0, -1.0)  # the preference of two pairs without steering
# What each seed, layer and dose adds to both, and at what KL.
CELLS = {
    (0, 0, 1.0): (0.5, 0.1),
    (0, 0, 2.0): (1.0, 0.6),
    (0, 1, 1.0): (0.8, 0.2),
    (0, 1, 2.0): (3.0, 0.9),
    (1, 0, 1.0): (-0.4, 0.1),
    (1, 0, 2.0): (-0.9, 0.4),
    (1, 1, 1.0): (-0.7, 0.3),
    (1, 1, 2.0): (-0.2, 0.8),
}


def screen(cells=CELLS):
    """The rows of a screen of random nulls, and rows beside it that are none of its own."""
    common = {"metric": "preference", "unit": "nats", "split": SCREEN}
    rows = [row(**common, prompt=p, value=v) for p, v in enumerate(PLAIN)]
    for (seed, layer, dose), (shift, kl) in cells.items():
        label = {"cell": f"{seed} {layer} {dose}", "method": "null_random", "layer": layer}
        label |= {"seed": seed, "dose_natural": dose, "kl_nats": kl}
        rows += [row(**common | label, prompt=p, value=v + shift) for p, v in enumerate(PLAIN)]
        rows.append(row(**common | label | {"split": "null"}, value=-100.0 * shift))
        rows.append(row(**common | label | {"metric": "kl"}, value=-100.0 * shift))
    return as_table(rows)


@pytest.fixture(scope="module")
def nulls():
    """Two random nulls, of seed 0 and 1, each with a direction at two layers."""
    contrast, _ = planted_contrast(n_pairs=4, d=8)
    there = [replace(contrast, site=Site("resid_post", i), other=None) for i in range(2)]
    return [
        {
            c.site.layer: replace(find_direction("random", c, seed=seed), method="null_random")
            for c in there
        }
        for seed in range(2)
    ]


def test_the_screen_of_a_null_tells_the_mean_shift_from_plain():
    found = screened(screen()).set_index(["seed", "layer", "dose_natural"])
    assert found["shift"].to_dict() == pytest.approx({k: s for k, (s, _) in CELLS.items()})
    assert found.kl_nats.to_dict() == pytest.approx({k: kl for k, (_, kl) in CELLS.items()})


def test_the_layer_of_a_null_is_where_it_shifts_most_at_the_reference_dose(nulls):
    at_reference = {key: v for key, v in CELLS.items() if key[2] == 1.0}
    assert best_layers(nulls, screen(at_reference)) == [nulls[0][1], nulls[1][0]]
    lost = at_reference | {(0, 1, 1.0): (math.nan, math.nan)}
    assert best_layers(nulls, screen(lost)) == [nulls[0][0], nulls[1][0]]


@pytest.mark.parametrize(
    ("kl", "first", "second"),
    [
        (0.05, (0, 1.0), (0, 1.0)),  # no condition has so little: that with the least
        (0.5, (1, 1.0), (0, 1.0)),
        (0.6, (0, 2.0), (0, 1.0)),  # a limit may be reached
        (math.inf, (1, 2.0), (1, 2.0)),
    ],
)
def test_the_condition_of_a_null_shifts_most_of_those_within_the_kl(nulls, kl, first, second):
    cells = best_cells(nulls, screen(), kl, Scope.all())
    for cell, family, (layer, dose) in zip(cells, nulls, (first, second), strict=True):
        [steering] = cell.interventions
        assert steering.direction == family[layer]
        assert steering.dose == Dose(dose)


def test_a_null_may_cost_as_much_as_the_dearest_condition_that_breaks_no_limit():
    summary = pd.DataFrame(
        {
            "method": ["mean_diff"] * 4 + ["random"],
            "dose_natural": [1.0, 2.0, 3.0, -1.0, 1.0],
            "kl_nats": [0.1, 0.4, 0.9, 7.0, 5.0],
            "broken": [False, False, True, False, False],
        }
    )
    assert most_kl(summary, "mean_diff") == 0.4
    assert most_kl(summary.assign(broken=True), "mean_diff") == 0.9
    assert most_kl(summary.assign(kl_nats=math.nan), "mean_diff") == math.inf


def test_where_no_prompt_is_steered_a_null_has_no_larger_dose_than_the_method(nulls):
    summary = pd.DataFrame(
        {
            "method": ["mean_diff"] * 3,
            "dose_natural": [1.0, 2.0, -3.0],
            "kl_nats": [0.0, 0.0, 0.0],
            "broken": [False, True, False],
        }
    )
    assert most_dose(summary, "mean_diff") == pytest.approx(1.0)
    assert most_dose(summary.assign(kl_nats=0.1), "mean_diff") == math.inf
    flat = {key: (shift, 0.0) for key, (shift, _) in CELLS.items()}
    cells = best_cells(nulls, screen(flat), 0.0, Scope.generated(), most_dose(summary, "mean_diff"))
    at = [(c.interventions[0].direction.site.layer, c.interventions[0].dose.value) for c in cells]
    assert at == [(1, 1.0), (0, 1.0)]
