"""Normalisation in one pass over memory, and once for an attention, where nothing looks inside it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
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


def norm_once(norm: Any) -> Callable[[], None]:
    """Have the norm before an attention run once while it is unobserved; what its attention calls first.

    TransformerLens runs it for queries, keys and values each, on the same tensor.
    """
    kept: list[Tensor] = []  # what went in and what came out, until the attention begins
    if not hasattr(norm, "hook_normalized"):
        return kept.clear
    normalise = norm.forward

    def chosen(x: Tensor) -> Tensor:
        if _is_observed(norm):
            return normalise(x)
        if not (kept and kept[0] is x):
            kept[:] = x, normalise(x)
        return kept[1]

    replace_forward(norm, chosen)
    return kept.clear


def _is_observed(norm: Any) -> bool:
    return bool(norm.hook_scale._forward_hooks or norm.hook_normalized._forward_hooks)


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
