"""The nulls of a study at every layer where their kind can be drawn."""

from __future__ import annotations

from dataclasses import replace

import torch

from steerscope.sites import Site
from steerscope.studies.steering.nulls import null_families
from tests.helpers import planted_contrast


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
