from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from steerscope.diagnostics.lens import direction_lens, lens_table, logit_lens, top_tokens
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


def test_the_table_has_the_likeliest_token_and_the_kl_of_the_end_from_each_layer(tiny):
    ids = [1, 5, 6, 7]
    logits = logit_lens(tiny, ids)
    end, table = Categorical(logits=logits[-1]), lens_table(tiny, ids)
    for layer, mine in table.groupby("layer"):
        assert mine.position.tolist() == [0, 1, 2, 3]
        assert mine.token.tolist() == [tiny.token_label(i) for i in ids]
        kl = kl_divergence(end, Categorical(logits=logits[layer]))
        assert mine.kl_nats.tolist() == pytest.approx(kl.tolist(), rel=1e-4, abs=1e-5)
        best = logits[layer].softmax(dim=-1).max(dim=-1)
        assert mine.probability.tolist() == pytest.approx(best.values.tolist())
        assert mine.top_token.tolist() == [tiny.token_label(int(i)) for i in best.indices]
    assert table[table.layer == 2].kl_nats.max() < 1e-5 < table[table.layer == 0].kl_nats.min()


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
