"""Configurations of decoder families, and a few that are none, each small enough for any machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

N_VOCAB = 300
_ALL = {
    "vocab_size": N_VOCAB, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 96, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": None,
}  # fmt: skip
_GROUPED = _ALL | {"num_key_value_heads": 2}
_OLD = {"vocab_size": N_VOCAB, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 128} | {
    "bos_token_id": 1, "eos_token_id": 2
}  # fmt: skip
_STATES = {
    "vocab_size": N_VOCAB, "hidden_size": 48, "num_hidden_layers": 3, "state_size": 8,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}
_DELTA = {
    "head_dim": 12, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
}  # fmt: skip
_SCALED = {
    "embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.5,
    "attention_multiplier": 0.2,
}  # fmt: skip
_LATENT = {
    "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1,
    "topk_group": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1, "kv_lora_rank": 16,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12, "n_shared_experts": 1,
}  # fmt: skip
_OPT = {
    "vocab_size": N_VOCAB, "hidden_size": 48, "ffn_dim": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 2,
}  # fmt: skip
_FALCON = {
    "vocab_size": N_VOCAB, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_NOT_NEO = {"num_hidden_layers", "num_attention_heads", "intermediate_size"}
_ROPE = {"rope_theta": 10000.0}


def _config(name: str, **values: Any) -> Callable[[], Any]:
    return lambda: getattr(hf, f"{name}Config")(**values)


def _rope(kind: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, **_ROPE, **values}}


FAMILIES: dict[str, Callable[[], Any]] = {
    "GPT-2": _config("GPT2", **_OLD),
    "GPT-Neo": _config(
        "GPTNeo",
        **{k: v for k, v in _ALL.items() if k not in _NOT_NEO},
        num_layers=4, num_heads=4, attention_types=[[["global", "local"], 2]], window_size=8,
    ),
    "GPT-J": _config("GPTJ", **_OLD, rotary_dim=8),
    "GPT-NeoX": _config("GPTNeoX", **_ALL | {"hidden_size": 64}),
    "GPT-NeoX, sequential": _config(
        "GPTNeoX", **_ALL | {"hidden_size": 64}, use_parallel_residual=False
    ),
    "GPT-BigCode": _config("GPTBigCode", **_OLD),
    "OpenAI-GPT": _config("OpenAIGPT", **{k: v for k, v in _OLD.items() if "token" not in k}),
    "OPT": _config("OPT", **_OPT),
    "OPT-350m": _config("OPT", **_OPT, word_embed_proj_dim=32, do_layer_norm_before=False),
    "BLOOM": _config("Bloom", vocab_size=N_VOCAB, hidden_size=48, n_layer=3, n_head=4),
    "MPT": _config("Mpt", vocab_size=N_VOCAB, d_model=48, n_layers=3, n_heads=4, max_seq_len=128),
    "Falcon-7B": _config("Falcon", **_FALCON, multi_query=True, alibi=False),
    "Falcon-40B": _config(
        "Falcon", **_FALCON, num_kv_heads=2, new_decoder_architecture=True, alibi=False
    ),
    "Falcon-RW (alibi)": _config(
        "Falcon", **_FALCON, alibi=True, multi_query=False, parallel_attn=False
    ),
    "Llama": _config("Llama", **_GROUPED),
    "Llama, tied": _config("Llama", **_ALL, tie_word_embeddings=True),
    "Llama, biases": _config("Llama", **_GROUPED, attention_bias=True, mlp_bias=True, head_dim=16),
    "Llama 3 rotation": _config(
        "Llama", **_GROUPED, **_rope(
            "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=32,
        ),
    ),
    "Llama, linear rotation": _config("Llama", **_GROUPED, **_rope("linear", factor=4.0)),
    "Llama 4": _config(
        "Llama4Text", **_GROUPED, head_dim=12, num_local_experts=2, num_experts_per_tok=1,
        intermediate_size_mlp=96, attention_chunk_size=16,
    ),
    "Mistral, window 8": _config("Mistral", **_GROUPED, sliding_window=8, head_dim=12),
    "Mistral": _config("Mistral", **_GROUPED, sliding_window=None),
    "Ministral 3": _config("Ministral3", **_GROUPED, head_dim=16),
    "Mixtral": _config("Mixtral", **_GROUPED, **_LOCAL),
    "Qwen2": _config("Qwen2", **_GROUPED),
    "Qwen2-MoE": _config(
        "Qwen2Moe", **_GROUPED, **_EXPERTS, moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
    ),
    "Qwen3": _config("Qwen3", **_GROUPED, head_dim=16),
    "Qwen3-MoE": _config("Qwen3Moe", **_GROUPED, **_EXPERTS, moe_intermediate_size=32),
    "Qwen3-Next": _config(
        "Qwen3Next", **_GROUPED, **_EXPERTS, **_DELTA, moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
    ),
    "Qwen3.5": _config("Qwen3_5Text", **_GROUPED, **_DELTA),
    "Gemma": _config("Gemma", **_GROUPED, head_dim=16),
    "Gemma 2": _config(
        "Gemma2", **_GROUPED, head_dim=16, sliding_window=8, final_logit_softcapping=5.0,
        attn_logit_softcapping=10.0,
    ),
    "Gemma 3": _config("Gemma3Text", **_GROUPED, head_dim=16, sliding_window=8),
    "Phi": _config("Phi", **_ALL),
    "Phi-3": _config("Phi3", **_GROUPED | {"pad_token_id": 0}),
    "Phi-3, long rotation": _config(
        "Phi3", **_GROUPED | {"pad_token_id": 0}, original_max_position_embeddings=32, **_rope(
            "longrope", short_factor=[1.0] * 6, long_factor=[2.0] * 6,
            original_max_position_embeddings=32,
        ),
    ),
    "Phi-MoE": _config("Phimoe", **_GROUPED, **_LOCAL),
    "OLMo": _config("Olmo", **_GROUPED),
    "OLMo, clipped": _config("Olmo", **_GROUPED, clip_qkv=0.5),
    "OLMo 2": _config("Olmo2", **_GROUPED),
    "OLMo 3": _config("Olmo3", **_GROUPED, sliding_window=8),
    "OLMoE": _config("Olmoe", **_GROUPED, **_EXPERTS),
    "Granite": _config("Granite", **_GROUPED, **_SCALED),
    "Granite-MoE": _config("GraniteMoe", **_GROUPED, **_SCALED, **_EXPERTS),
    "SmolLM3": _config("SmolLM3", **_GROUPED, no_rope_layers=[1, 1, 0]),
    "GLM": _config("Glm", **_GROUPED, head_dim=12),
    "GLM-4": _config("Glm4", **_GROUPED, head_dim=12),
    "DeepSeek-V2": _config(
        "DeepseekV2", **_GROUPED | _LATENT, q_lora_rank=None, topk_method="greedy"
    ),
    "DeepSeek-V3": _config("DeepseekV3", **_GROUPED | _LATENT, q_lora_rank=16),
    "gpt-oss": _config(
        "GptOss", **_GROUPED, **_LOCAL | {"sliding_window": 8}, head_dim=16, **_rope("default")
    ),
    "Command-R": _config("Cohere", **_GROUPED),
    "StarCoder2": _config("Starcoder2", **_GROUPED, sliding_window=None),
    "CodeGen": _config("CodeGen", **_OLD, rotary_dim=8),
    "Nemotron": _config("Nemotron", **_GROUPED),
    "Persimmon": _config("Persimmon", **_ALL),
    "Helium": _config("Helium", **_GROUPED, head_dim=12),
    "EXAONE 4": _config("Exaone4", **_GROUPED, sliding_window=8),
    "Seed-OSS": _config("SeedOss", **_GROUPED, head_dim=12),
    "Arcee": _config("Arcee", **_GROUPED),
    "ERNIE 4.5": _config("Ernie4_5", **_GROUPED, head_dim=12),
    "HunYuan": _config("HunYuanDenseV1", **_GROUPED, head_dim=12),
    "StableLM": _config("StableLm", **_GROUPED | {"hidden_size": 64}),
    "XGLM": _config(
        "XGLM", vocab_size=N_VOCAB, d_model=48, ffn_dim=96, num_layers=3, attention_heads=4,
        max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
    ),
    "BioGPT": _config("BioGpt", **_ALL | {"pad_token_id": 0}),
    "Mamba": _config("Mamba", **_STATES),
    "Mamba 2": _config("Mamba2", **_STATES, num_heads=8, head_dim=12, n_groups=1, expand=2),
    "Falcon-Mamba": _config("FalconMamba", **_STATES),
    "RWKV": _config(
        "Rwkv", vocab_size=N_VOCAB, hidden_size=48, attention_hidden_size=48, num_hidden_layers=3,
        context_length=128, bos_token_id=1, eos_token_id=2,
    ),
    "LFM2": _config("Lfm2", **_GROUPED, layer_types=["conv", "full_attention", "conv"]),
    "Jamba": _config(
        "Jamba", **{k: v for k, v in _GROUPED.items() if k != "max_position_embeddings"},
        attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
        num_experts=2, num_experts_per_tok=1, mamba_d_state=8, mamba_dt_rank=8,
        use_mamba_kernels=False,
    ),
    "BERT": _config("Bert", **_ALL | {"pad_token_id": 0}),
    "BERT as decoder": _config("Bert", **_ALL | {"pad_token_id": 0}, is_decoder=True),
    "T5": _config(
        "T5", vocab_size=N_VOCAB, d_model=48, d_kv=12, d_ff=96, num_layers=3, num_heads=4
    ),
}  # fmt: skip


def save_family(name: str, folder: Path) -> Path:
    """Write a random model of a family as a Hugging Face folder, every part of it large enough."""
    torch.manual_seed(0)
    config = FAMILIES[name]()
    kind = hf.AutoModelForSeq2SeqLM if name == "T5" else hf.AutoModelForCausalLM
    model = kind.from_config(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            if any(part in parameter for part in ("A_log", "dt_", ".D", "time_", "conv1d")):
                continue  # of state spaces, whose dynamics must stay stable
            if weight.ndim > 1:
                weight.normal_(0, 0.2, generator=generator)
            else:
                weight.add_(0.15 * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _tokenizer() -> hf.PreTrainedTokenizerFast:
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, N_VOCAB)}
    bare = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
