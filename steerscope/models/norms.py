"""Normalisation in one pass over memory, where nothing looks inside it."""

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


def _fuse(norm: Any) -> None:
    written_out = norm.forward
    is_rms = type(norm) is RMSNorm

    def chosen(x: Tensor) -> Tensor:
        observed = norm.hook_scale._forward_hooks or norm.hook_normalized._forward_hooks
        if observed or x.dtype != torch.float32 or norm.w.dtype != torch.float32:
            return written_out(x)
        if is_rms:
            return F.rms_norm(x, norm.w.shape, norm.w, norm.eps)
        return F.layer_norm(x, norm.w.shape, norm.w, norm.b, norm.eps)

    replace_forward(norm, chosen)
