"""Attention over keys and values kept in place, for decoding with HookedTransformer.

TransformerLens' own attention rotates every cached key again at each step and copies keys and
values once per query head. This one stores rotated keys and reads each once. It fires the same
hooks (q, k, v, rotated q and k of the new tokens, z) and leaves attention variants that it does
not know, and hooks on scores or pattern, to TransformerLens. Axes are moved by torch's own words
and not by einops, whose reading of them is felt where a row is alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

_HOOKS_OF_OURS = ("hook_attn_scores", "hook_pattern", "hook_rot_k", "hook_rot_q", "hook_result")
_OTHER_QK_NORMS = ("OlmoeForCausalLM", "Olmo2ForCausalLM", "Olmo3ForCausalLM")


def is_plain(transformer: Any) -> bool:
    """Whether every block has causal, global attention without additions, unobserved inside."""
    cfg = transformer.cfg
    plain = (
        cfg.positional_embedding_type in {"rotary", "standard"}
        and cfg.attention_dir == "causal"
        and cfg.original_architecture not in _OTHER_QK_NORMS
        and not (cfg.attn_scores_soft_cap and cfg.attn_scores_soft_cap > 0)
        and cfg.clip_qkv is None
    )
    switches = (
        "use_attention_sinks", "use_logn_attn", "use_dynamic_ntk_rope", "use_attn_result",
        "use_split_qkv_input", "use_attn_in", "load_in_4bit", "ungroup_grouped_query_attention",
    )  # fmt: skip
    return (
        plain
        and not any(getattr(cfg, s, False) for s in switches)
        and all(
            block.attn.attn_type == "global" and not _is_observed(block.attn)
            for block in transformer.blocks
        )
    )


def _is_observed(attention: Any) -> bool:
    points = (getattr(attention, name, None) for name in _HOOKS_OF_OURS)
    return any(p is not None and bool(p._forward_hooks) for p in points)


def attend(attention: Any, inputs: tuple[Tensor, Tensor, Tensor], entry: Any) -> Tensor:
    """Output of an attention layer whose rotated keys and values so far are in `entry`."""
    q, k, v = _projected(attention, inputs)
    if attention.cfg.positional_embedding_type == "rotary":
        start = entry.n_tokens
        q = attention.hook_rot_q(rotated(attention, q, start))
        k = attention.hook_rot_k(rotated(attention, k, start))
    keys, values = entry.append(k, v)
    seen = entry.n_tokens + 1 if isinstance(entry.n_tokens, Tensor) else None
    z = attention.hook_z(grouped_attention(q, keys, values, attention.attn_scale, seen))
    return F.linear(z.flatten(2), attention.W_O.flatten(0, 1).T, attention.b_O)


def _projected(attention: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Queries, keys and values, as TransformerLens makes them of what `is_plain` lets through."""
    grouped = hasattr(attention, "_W_K")
    weights = ("W_Q", "_W_K", "_W_V") if grouped else ("W_Q", "W_K", "W_V")
    biases = ("b_Q", "_b_K", "_b_V") if grouped else ("b_Q", "b_K", "b_V")
    hooks = (attention.hook_q, attention.hook_k, attention.hook_v)
    found = []
    for x, weight, bias, hook in zip(inputs, weights, biases, hooks, strict=True):
        w, b = getattr(attention, weight), getattr(attention, bias)
        flat = F.linear(x, w.transpose(1, 2).flatten(0, 1), b.flatten())
        found.append(hook(flat.unflatten(-1, b.shape)))
    if attention.cfg.use_qk_norm:
        norms = (attention.q_norm, attention.k_norm)
        found[:2] = map(attention._apply_qk_norm, found[:2], norms)
    return found


def rotated(
    attention: Any, x: Float[Tensor, "batch pos head d"], start: int | Int[Tensor, " batch"]
) -> Float[Tensor, "batch pos head d"]:
    """Queries or keys turned by their positions, which begin at `start`, of every row or of each its own.

    Each its own: one position of every row.
    """
    cfg, n_pos = attention.cfg, x.shape[1]
    which: Any = slice(start, start + n_pos) if isinstance(start, int) else start[:, None]
    last = start + n_pos - 1 if isinstance(start, int) else int(start.max())
    if last >= len(attention.rotary_cos):
        attention.apply_rotary(x[:1, :1], last)  # makes its tables longer
    cos, sin = (t[which].unsqueeze(-2) for t in (attention.rotary_cos, attention.rotary_sin))
    turning = x if cfg.rotary_dim == x.shape[-1] else x[..., : cfg.rotary_dim]
    if cfg.rotary_adjacent_pairs:
        quarter = attention.rotate_every_two(turning)
    else:
        first, second = turning.chunk(2, dim=-1)
        quarter = torch.cat([-second, first], dim=-1)
    turned = turning * cos + quarter * sin
    return turned if turning is x else torch.cat([turned, x[..., cfg.rotary_dim :]], dim=-1)


def grouped_attention(
    q: Float[Tensor, "batch pos head d"],
    keys: Float[Tensor, "batch group key d"],
    values: Float[Tensor, "batch group key d"],
    scale: float,
    seen: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch pos head d"]:
    """Causal attention of the last `pos` of `key` positions; heads share keys in equal groups.

    With `seen`, one position of each row, which looks at so many of the keys alone.
    """
    n_pos, n_keys, groups = q.shape[1], keys.shape[2], keys.shape[1]
    if n_pos == n_keys and seen is None:  # torch's kernel knows this mask and keeps no scores
        z = F.scaled_dot_product_attention(
            q.transpose(1, 2), keys, values, is_causal=True, scale=1 / scale, enable_gqa=True
        )
        return z.transpose(1, 2)
    grouped = q.unflatten(2, (groups, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
    visible = _visible(n_pos, n_keys, grouped.shape[2] // n_pos, seen, q.device)
    if q.dtype == torch.float32:
        scores = grouped @ keys.transpose(-1, -2) / scale
        scores = scores if visible is None else scores.masked_fill(~visible, -torch.inf)
        z = torch.softmax(scores, dim=-1) @ values
    else:  # scores in half precision would be rounded, which those of a whole text are not
        z = F.scaled_dot_product_attention(
            grouped, keys, values, attn_mask=visible, scale=1 / scale
        )
    return z.unflatten(2, (-1, n_pos)).permute(0, 3, 1, 2, 4).flatten(2, 3)


def _visible(
    n_pos: int, n_keys: int, n_heads: int, seen: Int[Tensor, " batch"] | None, device: torch.device
) -> Bool[Tensor, "*rows key"] | None:
    """Which keys each row of grouped queries looks at; None for all of them."""
    if n_pos == 1 and seen is None:
        return None
    keys = torch.arange(n_keys, device=device)
    if seen is not None:
        return (keys < seen[:, None])[:, None, None]
    at = torch.arange(n_keys - n_pos, n_keys, device=device)
    return (keys[None] <= at[:, None]).repeat(n_heads, 1)
