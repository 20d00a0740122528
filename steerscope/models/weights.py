"""The weight matrices around a site, under the names that both backbones share."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, cat

from steerscope.errors import UnsupportedSiteError
from steerscope.models.lens_model import LensModel
from steerscope.sites import READ_ONLY_STREAMS, Site


def site_weight(model: LensModel, site: Site) -> Float[Tensor, "row d"]:
    """The weight matrix that writes to a site or reads from it, its rows in the site's space.

    What writes: W_Q, W_K and W_V to `q`, `k` and `v`; W_O to `attn_out` and `resid_mid`; the gate
    and up projections to `mlp_pre` and `mlp_pre_linear`; W_out to `mlp_out` and `resid_post`. What
    reads: W_O from `z`; W_out from `mlp_post`; W_Q, W_K and W_V together from `resid_pre`, behind
    the norm, whose scaling is left out, as are biases and any norm after a writing weight.

    Raises:
        UnsupportedSiteError: the model has no such site, or the block has no such weight.
    """
    model.check(site)
    block: Any = model.transformer.blocks[site.layer]  # type: ignore[index]
    try:
        weight = _around(block, site)
    except AttributeError as error:
        raise UnsupportedSiteError(
            f"site {site}: {model.name} on the {model.backbone} backbone has no plain weight "
            f"matrix there ({error}); choose another site or a method without weights."
        ) from None
    return weight.detach().float().cpu()


def _around(block: Any, site: Site) -> Tensor:
    stream, head = site.stream, slice(None)
    if stream in READ_ONLY_STREAMS:
        raise AttributeError(f"none writes to {stream} alone")
    if site.head is not None:
        head = slice(site.head, site.head + 1)
    if stream in {"q", "k", "v"}:
        return rearrange(_projection(block.attn, stream)[head], "head d e -> d (head e)")
    if stream == "resid_pre":
        sides = [_projection(block.attn, name) for name in ("q", "k", "v")]
        return cat([rearrange(side, "head d e -> (head e) d") for side in sides])
    if stream == "z":
        return rearrange(block.attn.W_O[head], "head e d -> d (head e)")
    if stream in {"attn_out", "resid_mid"}:
        return rearrange(block.attn.W_O, "head e d -> (head e) d")
    if stream in {"mlp_out", "resid_post"}:
        return block.mlp.W_out
    if stream == "mlp_post":
        return block.mlp.W_out.T
    gate = getattr(block.mlp, "W_gate", None) if stream == "mlp_pre" else None
    return block.mlp.W_in if gate is None else gate


def _projection(attention: Any, name: str) -> Float[Tensor, "head d e"]:
    """W_Q, W_K or W_V with one entry per head of its own.

    HookedTransformer repeats grouped keys and values under their plain names.
    """
    name = f"W_{name.upper()}"
    own = getattr(attention, "_parameters", {}).get(f"_{name}")
    return getattr(attention, name) if own is None else own
