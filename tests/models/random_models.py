"""Configurations of small models, and how tests of loading load what is made of them."""

from __future__ import annotations

import warnings

import transformers as hf

from steerscope.errors import BackboneWarning
from steerscope.models.loading import load_model

SIZES = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2}
FALCON = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "alibi": True, "multi_query": False, "parallel_attn": False, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
OPT_350M = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "ffn_dim": 48, "max_position_embeddings": 128, "word_embed_proj_dim": 16,
    "do_layer_norm_before": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
LONG = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4,
    "long_factor": [3.0] * 4, "original_max_position_embeddings": 16,
}  # fmt: skip
MAMBA = {
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1,
    "mamba_expand": 2,
}  # fmt: skip
GATED = {
    "head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"] * 2,
}  # fmt: skip
PROMPTS = [[1, 5, 9], [1, 7, 20, 33, 41], [1, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61]]


def load(folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BackboneWarning)
        return load_model(folder, **options)


def original(folder):
    return hf.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
