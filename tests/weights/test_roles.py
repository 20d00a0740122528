"""Weights by their role: what an architecture calls by the same name is not taken for it."""

from __future__ import annotations

import warnings

import pytest
import torch
import transformers as hf
from transformers import AutoTokenizer

from steerscope.errors import BackboneWarning, SteerscopeError, UnsupportedWeightError
from steerscope.models.loading import load_model
from steerscope.models.matrices import weight_matrix

SIZES = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 64, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def experts(tmp_path_factory, tiny_folder):
    """The folder of a tiny model with four experts in each block."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("roles") / "mixtral"
    config = hf.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2)
    model = hf.MixtralForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0 if parameter.ndim > 1 else 1.0, 0.3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_folder("llama")).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_a_router_is_not_the_gate_of_an_mlp(experts, backbone):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BackboneWarning)
        try:
            model = load_model(experts, backbone=backbone)
        except SteerscopeError:
            pytest.skip(f"the {backbone} backbone does not take a mixture of experts")
    for name in ("gate", "up", "down"):
        with pytest.raises(UnsupportedWeightError, match=f"weight {name} of block 0"):
            weight_matrix(model, name, 0)
    assert weight_matrix(model, "o", 0).read().shape == (32, 32)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_the_branches_of_one_mlp_are_found(load, family, backbone):
    model = load(family, backbone)
    names = ["up", "down"] + ([] if family == "gpt2" else ["gate"])
    for name in names:
        shape, width = weight_matrix(model, name, 1).read().shape, model.shape.d_mlp
        assert shape == ((width, 32) if name == "down" else (32, width))
