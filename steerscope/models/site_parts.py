"""The part of a hook point's tensor that a site names."""

from __future__ import annotations

from collections.abc import Callable

from einops import rearrange
from torch import Tensor

from steerscope.sites import Site


def on_site(
    site: Site, whole: Tensor, function: Callable[[Tensor], Tensor | None]
) -> Tensor | None:
    """Apply `function` to the part of a hook point's tensor that `site` names."""
    if site.head is not None:
        part = function(whole[..., site.head, :])
        if part is None:
            return None
        changed = whole.clone()
        changed[..., site.head, :] = part
        return changed
    if whole.ndim == 4:
        flat = function(rearrange(whole, "batch pos head d -> batch pos (head d)"))
        if flat is None:
            return None
        return rearrange(flat, "batch pos (head d) -> batch pos head d", head=whole.shape[2])
    return function(whole)
