"""Whether a block changes what attention and MLP put out before it adds it to the residual stream."""

from __future__ import annotations

from typing import Any

_AFTER_MLP = ("post_feedforward_layernorm", "post_mlp_layernorm")
_AFTER_ATTENTION = ("post_self_attn_layernorm",)  # and another name with a norm after the MLP
_ONLY_AFTER = ("Olmo2ForCausalLM", "Olmo3ForCausalLM")  # of attention and MLP alike


def hooked_norm_after(transformer: Any) -> bool:
    """Whether a HookedTransformer has norms behind attention and MLP."""
    cfg = transformer.cfg
    return bool(cfg.use_normalization_before_and_after or cfg.original_architecture in _ONLY_AFTER)


def bridged_norms_after(block: Any) -> tuple[bool, bool]:
    """Whether a block of a TransformerBridge has a norm behind its attention, and behind its MLP."""
    original = block.original_component
    mlp = any(hasattr(original, norm) for norm in _AFTER_MLP)
    return mlp or any(hasattr(original, norm) for norm in _AFTER_ATTENTION), mlp
