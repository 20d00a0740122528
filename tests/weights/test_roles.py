"""Weights by their role: what an architecture calls by the same name is not taken for it."""

from __future__ import annotations

import warnings

import pytest
import torch
import transformers as hf
from transformers import AutoTokenizer

from steerscope.errors import BackboneWarning, UnsupportedSiteError, UnsupportedWeightError
from steerscope.models.loading import load_model
from steerscope.models.matrices import WEIGHTS, weight_matrix
from steerscope.sites import Site

SIZES = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 64, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


LATENT = {k: v for k, v in SIZES.items() if k not in {"num_key_value_heads", "head_dim"}} | {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
    "moe_intermediate_size": 24, "first_k_dense_replace": 1, "kv_lora_rank": 16, "q_lora_rank": None,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12, "n_shared_experts": 1,
    "num_key_value_heads": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_folder):
    """The folder of a tiny random model of a configuration."""

    def save(config):
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("roles") / config.model_type
        model = hf.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, 0.0 if parameter.ndim > 1 else 1.0, 0.3)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_folder("llama")).save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="module")
def experts(saved):
    """The folder of a tiny model with four experts in each block."""
    return saved(hf.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2))


def quietly(folder, backbone="bridge"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BackboneWarning)
        return load_model(folder, backbone=backbone)


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_a_router_is_not_the_gate_of_an_mlp(experts, backbone):
    model = quietly(experts, backbone)
    for name in ("gate", "up", "down"):
        with pytest.raises(UnsupportedWeightError, match=f"weight {name} of block 0"):
            weight_matrix(model, name, 0)
    assert weight_matrix(model, "o", 0).read().shape == (32, 32)
    for stream in ("mlp_pre", "mlp_pre_linear", "mlp_post"):
        with pytest.raises(UnsupportedSiteError, match="has no such hook point in block 0"):
            model.check(Site(stream, 0))
    assert model.has(Site("mlp_out", 0))


def test_latent_attention_has_no_heads_and_its_first_block_an_mlp(saved):
    model = quietly(saved(hf.DeepseekV2Config(**LATENT)))
    assert not any(model.has(Site(s, layer)) for s in ("q", "k", "v", "z") for layer in (0, 1))
    assert [model.has(Site("mlp_post", layer)) for layer in (0, 1)] == [True, False]
    assert weight_matrix(model, "down", 0).read().shape == (64, 32)
    with pytest.raises(UnsupportedWeightError, match="weight up of block 1"):
        weight_matrix(model, "up", 1)


def test_a_block_without_attention_has_the_matrices_of_its_mlp(saved):
    config = hf.Lfm2Config(
        **SIZES, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False
    )
    model = quietly(saved(config))
    for layer in (0, 1):
        assert weight_matrix(model, "gate", layer).read().shape == (32, 64)
    with pytest.raises(UnsupportedWeightError, match="weight q of block 0"):
        weight_matrix(model, "q", 0)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_the_branches_of_one_mlp_are_found(load, family, backbone):
    model = load(family, backbone)
    names = ["up", "down"] + ([] if family == "gpt2" else ["gate"])
    for name in names:
        shape, width = weight_matrix(model, name, 1).read().shape, model.shape.d_mlp
        assert shape == ((width, 32) if name == "down" else (32, width))


AFTER = {
    "olmo3": (hf.Olmo3Config, {"sliding_window": 16}, "hooked"),
    "glm4": (hf.Glm4Config, {"attention_bias": True, "pad_token_id": 0}, "bridge"),
}


@pytest.mark.parametrize("family", AFTER)
def test_a_gain_is_said_to_cancel_where_a_norm_undoes_it_and_nowhere_else(saved, family):
    kind, more, backbone = AFTER[family]
    model = quietly(saved(kind(**SIZES, **more)), backbone)
    tokens = torch.tensor([[1, 5, 9, 33, 60]])
    plain = model.forward(tokens)
    for name in WEIGHTS:
        matrix = weight_matrix(model, name, 1)
        with matrix.replaced(1.5 * matrix.read()):
            moved = float((model.forward(tokens) - plain).abs().max() / plain.std())
        assert matrix.gain_cancels == (moved < 1e-4), (name, moved)
    for module in ("model.layers.1.mlp.down_proj", "model.layers.1.self_attn"):
        with pytest.raises(UnsupportedSiteError, match="a norm between"):
            model.check(Site.parse(module))
