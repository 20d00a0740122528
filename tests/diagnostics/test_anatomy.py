"""What each layer is made of, beside what its three numbers are by themselves."""

from __future__ import annotations

import pytest

from steerscope.diagnostics import half_agreement, residual_norms, separation
from steerscope.diagnostics.anatomy import layer_anatomy
from steerscope.extraction.activations import extract
from steerscope.sites import Site
from steerscope.texts.contrasts import ContrastSet

PAIRS = ContrastSet.from_pairs(
    [(f"w{i} w{i + 1} w90", f"w{i} w{i + 3} w{i + 40}") for i in range(10, 16)]
)


def test_every_layer_has_its_own_norm_separation_and_stability(load):
    model = load()
    texts = [text for pair in PAIRS for text in (pair.positive, pair.negative)]
    without_first = [v for v in residual_norms(model, texts) if v.diagnostic == "residual_norm"]
    sites = [Site("resid_post", layer) for layer in range(3)]
    table = layer_anatomy(model, PAIRS)
    assert table.layer.tolist() == [0, 1, 2]
    assert set(table.n) == {len(PAIRS)}
    for layer, contrast in enumerate(extract(model, PAIRS, sites).values()):
        expected = {
            "norm": without_first[layer],
            "separation": separation(contrast),
            "stability": half_agreement(contrast),
        }
        for name, v in expected.items():
            assert v.layer == layer
            found = table.loc[layer, [name, f"{name}_low", f"{name}_high"]].tolist()
            assert found == pytest.approx([v.value, v.low, v.high], rel=1e-5)
