"""Normalisation in one pass over memory, and once for an attention, where nothing looks inside it."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steerscope.models.turns import replace_forward

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformer_lens.components import LayerNorm, RMSNorm


def fuse_norms(transformer: nn.Module) -> None:
    """Have the norms of a HookedTransformer run as one operation while they are unobserved.

    TransformerLens writes them out in six, for the hooks between; with a hook there, or in half
    precision, which it computes in float32 by its own rules, its own code runs.
    """
    for module in transformer.modules():
        if type(module) in (LayerNorm, RMSNorm):
            _fuse(module)


def norm_once(block: Any) -> None:
    """Have the norm before the attention of a block run once in a pass, while it is unobserved.

    TransformerLens runs it for queries, keys and values each, on the same tensor.
    """
    norm: Any = getattr(block, "ln1", None)  # there is none in a model without norms
    run = block.forward
    if not hasattr(norm, "hook_normalized"):
        return
    normalise = norm.forward
    in_pass = False
    kept: list[Tensor] = []  # what went in and what came out, in the pass in progress

    def chosen(x: Tensor) -> Tensor:
        if not in_pass or _is_observed(norm):
            return normalise(x)
        if not (kept and kept[0] is x):
            kept[:] = x, normalise(x)
        return kept[1]

    def passing(
        resid_pre: Tensor,
        shortformer_pos_embed: Tensor | None = None,
        past_kv_cache_entry: Any = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        nonlocal in_pass
        in_pass = True
        try:
            return run(resid_pre, shortformer_pos_embed, past_kv_cache_entry, attention_mask)
        finally:
            in_pass = False
            kept.clear()

    replace_forward(norm, chosen)
    replace_forward(block, passing)


def _is_observed(norm: Any) -> bool:
    points = (norm, norm.hook_scale, norm.hook_normalized)
    return any(p._forward_hooks or p._forward_pre_hooks for p in points)


def _fuse(norm: Any) -> None:
    written_out = norm.forward
    is_rms = type(norm) is RMSNorm

    def chosen(x: Tensor) -> Tensor:
        if _is_observed(norm) or x.dtype != torch.float32 or norm.w.dtype != torch.float32:
            return written_out(x)
        if is_rms:
            return F.rms_norm(x, norm.w.shape, norm.w, norm.eps)
        return F.layer_norm(x, norm.w.shape, norm.w, norm.b, norm.eps)

    replace_forward(norm, chosen)
