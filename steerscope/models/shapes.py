"""What a transformers model says about itself: its sizes and its end tokens."""

from __future__ import annotations

from typing import Any

from steerscope.models.lens_model import ModelShape


def shape_of(config: Any, *, d_mlp: int | None = None) -> ModelShape:
    """Sizes of a model, read off its transformers configuration; `d_mlp` where it is known better."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    named = getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None)
    return ModelShape(
        n_layers=text.num_hidden_layers,
        d_model=text.hidden_size,
        n_heads=heads,
        n_key_value_heads=getattr(text, "num_key_value_heads", None) or heads,
        d_head=getattr(text, "head_dim", None) or text.hidden_size // heads,
        d_mlp=d_mlp or named or 4 * text.hidden_size,
        n_vocab=text.vocab_size,
        n_context=text.max_position_embeddings,
    )


def ends_of(network: Any) -> list[int | None]:
    """The end tokens that a checkpoint names: in its generation settings and its configuration."""
    found: list[int | None] = []
    for source in (network.generation_config, network.config.get_text_config()):
        named = getattr(source, "eos_token_id", None)
        found += named if isinstance(named, list | tuple) else [named]
    return found
