from __future__ import annotations

import pytest
import torch

from steerscope.diagnostics.lens import direction_lens, logit_lens, top_tokens
from steerscope.errors import UnsupportedSiteError
from steerscope.sites import Site
from tests.helpers import FAMILIES, random_direction


def test_the_last_layer_of_the_lens_is_the_model(tiny):
    ids = [1, 5, 6, 7]
    with torch.no_grad():
        logits = tiny.forward(torch.tensor([ids]))[0]
    lens = logit_lens(tiny, ids)
    assert lens.shape == (3, 4, 96)
    torch.testing.assert_close(lens[-1], logits, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(lens[0], logits, atol=0.1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "neox"])
def test_the_lens_of_a_direction_is_unembedding_times_gain(load, family):
    model = load(family)
    direction = random_direction(model, Site("resid_post", 2), natural=2.0, relative=5.0)
    final = model.transformer.ln_final
    unit = direction.unit
    if hasattr(final, "b"):  # LayerNorm also takes the mean of the components out
        unit = unit - unit.mean()
    scale = unit.pow(2).mean().sqrt()  # the norm divides by the spread, so the length cancels
    logits = (unit / scale * final.w) @ model.transformer.W_U * (2.0 / 5.0)
    expected = logits - logits.mean()
    torch.testing.assert_close(direction_lens(model, direction), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_lens_is_linear_in_the_direction(load, family):
    model = load(family, "bridge")
    direction = random_direction(model, Site("resid_post", 1))
    torch.testing.assert_close(
        direction_lens(model, direction), -direction_lens(model, -direction), atol=1e-5, rtol=1e-5
    )


def test_top_tokens_are_sorted_from_both_ends(tiny):
    logits = torch.zeros(96)
    logits[[10, 11, 12]] = torch.tensor([3.0, 2.0, 1.0])
    logits[[20, 21]] = torch.tensor([-2.0, -1.0])
    most, least = top_tokens(tiny, logits, 2)
    assert [(t.token, t.logit) for t in most] == [(" w10", 3.0), (" w11", 2.0)]
    assert [(t.token, t.logit) for t in least] == [(" w20", -2.0), (" w21", -1.0)]


def test_a_direction_outside_the_residual_stream_has_no_lens(tiny):
    with pytest.raises(UnsupportedSiteError, match="reads the residual stream, not z.1"):
        direction_lens(tiny, random_direction(tiny, Site("z", 1)))
