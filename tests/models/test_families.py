"""Families whose bridge is not what it says: lens, caches, heads and sites are those of transformers."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from steerscope.diagnostics.lens import logit_lens
from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.engine.score import kl_from_plain
from steerscope.errors import UnsupportedSiteError
from steerscope.models.truth import Truth
from steerscope.models.unembedding import Unembedding, measured
from steerscope.sites import STREAMS, Site
from steerscope.steering.interventions import Cell, Steering
from tests.helpers import random_direction
from tests.models.random_models import (
    FALCON,
    GATED,
    GROUPED,
    LONG,
    OPT_350M,
    PROMPTS,
    SIZES,
    load,
    original,
)


def test_granite_is_steered_where_it_adds_to_its_residual_stream(saved):
    model = load(saved(hf.GraniteConfig(**GROUPED, residual_multiplier=0.5)))
    for stream in ("attn_out", "resid_mid", "mlp_out"):
        cell = Cell((Steering(random_direction(model, Site(stream, 1)), Dose(9.0, "absolute")),))
        assert kl_from_plain(model, ["w5 w6 w7"], [cell]).min() > 1e-3, stream


@pytest.mark.parametrize(
    "config",
    [
        hf.GraniteConfig(**GROUPED, logits_scaling=4.0, embedding_multiplier=3.0),
        hf.Gemma2Config(**GROUPED, head_dim=8, sliding_window=20, final_logit_softcapping=5.0),
        hf.OPTConfig(**OPT_350M),
        hf.OpenAIGPTConfig(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=128),
    ],
    ids=["scaled", "capped", "narrower", "no final norm"],
)
def test_the_lens_at_the_last_block_gives_the_logits_of_the_model(saved, config):
    model = load(saved(config), backbone="bridge")
    tokens = torch.tensor([PROMPTS[2]])
    with torch.no_grad():
        logits = model.forward(tokens)[0]
        lens = logit_lens(model, PROMPTS[2])[-1]
    torch.testing.assert_close(lens, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cap", [5.0, 30.0, None])
def test_a_cap_and_a_scale_are_measured_through_the_rounding_of_half_precision(dtype, cap):
    drawn = torch.Generator().manual_seed(0)
    x, w = torch.randn(64, 32, generator=drawn), torch.randn(32, 96, generator=drawn) / 32**0.5
    config = hf.Gemma2Config(**GROUPED, final_logit_softcapping=cap, logits_scaling=4.0)
    truth = Truth(torch.zeros(1, 64, dtype=torch.long), torch.zeros(64, 96), (), dtype)
    for length in (0.5, 2.0, 8.0):
        for scale in (1.0, 0.25):
            expected = Unembedding(scale, cap)
            residual = length * x
            logits = expected(residual @ w).to(dtype).float()
            project = lambda r, _normed: (r @ w).to(dtype)  # noqa: E731
            assert measured(project, residual, logits, config, truth.same) == expected


def test_a_lens_that_cannot_give_the_logits_is_refused(saved):
    model = load(saved(hf.BertConfig(**SIZES, is_decoder=True)))
    with pytest.raises(UnsupportedSiteError, match="no logits can be made of a residual stream"):
        logit_lens(model, PROMPTS[0])


@pytest.mark.parametrize(
    "config",
    [
        hf.FalconConfig(**FALCON),
        hf.MptConfig(vocab_size=96, d_model=32, n_layers=2, n_heads=4, max_seq_len=128),
        hf.BloomConfig(vocab_size=96, hidden_size=32, n_layer=2, n_head=4),
        hf.MambaConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2, state_size=4),
        hf.OpenAIGPTConfig(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=128),
        hf.MistralConfig(**GROUPED, sliding_window=8),
        hf.Qwen3_5TextConfig(**GROUPED | {"num_hidden_layers": 4}, **GATED),
        hf.Phi3Config(
            **GROUPED, pad_token_id=0, original_max_position_embeddings=16, rope_parameters=LONG
        ),
    ],
    ids=lambda config: config.model_type,
)
def test_continuations_are_those_of_transformers_whatever_the_cache(saved, config):
    folder = saved(config)
    model, outside = load(folder), original(folder)
    found = [c.tokens for c in generate(model, PROMPTS, n_new=8)[0]]
    for prompt, ours in zip(PROMPTS, found, strict=True):
        tokens = list(prompt)
        with torch.no_grad():
            for _ in range(8):
                tokens.append(
                    int(outside(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax())
                )
        expected = tokens[len(prompt) :]
        assert list(ours) == (expected[: expected.index(2)] if 2 in expected else expected)


def test_heads_are_counted_without_the_gates_that_come_with_their_queries(saved):
    model = load(saved(hf.Qwen3_5TextConfig(**GROUPED | {"num_hidden_layers": 4}, **GATED)))
    assert (model.shape.n_heads, model.shape.n_key_value_heads, model.shape.d_head) == (4, 2, 8)
    assert model.has(Site("z", 1, 3))
    assert not model.has(Site("z", 1, 4))
    assert not model.has(Site("q", 1))  # queries and gates in one


def test_every_site_that_is_offered_has_its_width_and_moves_the_logits(saved):
    model = load(saved(hf.FalconConfig(**{**FALCON, "alibi": False, "multi_query": True})))
    assert (model.shape.n_heads, model.shape.n_key_value_heads) == (4, 1)
    tokens = torch.tensor([PROMPTS[2]])
    sites = [Site(stream, 1) for stream in STREAMS if model.has(Site(stream, 1))]
    assert {"resid_post", "k", "z"} <= {site.stream for site in sites}
    with torch.no_grad():
        plain = model.forward(tokens)
        for site in sites:
            assert model.read(tokens, [site])[site].shape == (1, 13, model.width(site))
            noise = torch.randn(13, model.width(site), generator=torch.Generator().manual_seed(0))
            with model.hook(site, lambda x, noise=noise: x + noise):
                assert (model.forward(tokens) - plain).abs().max() > 1e-3, site
