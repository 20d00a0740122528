"""The attention probabilities of a model, which are no site: nothing is ever added to them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import UnsupportedSiteError
from steerscope.models.lens_model import LensModel


@torch.no_grad()
def attention_patterns(
    model: LensModel, tokens: Int[Tensor, " pos"], layers: Sequence[int]
) -> dict[int, Float[Tensor, "head pos pos"]]:
    """The probabilities with which each token of a text attends to those so far, at some blocks.

    Raises:
        UnsupportedSiteError: a block that tells no attention probabilities.
    """
    transformer: Any = model.transformer
    points = transformer.hook_dict
    found: dict[int, Tensor] = {}
    with model.turn.holding(), ExitStack() as stack:
        for layer in layers:
            point = points.get(f"blocks.{layer}.attn.hook_pattern")
            if point is None:
                raise UnsupportedSiteError(
                    f"block {layer} of {model.name} on the {model.backbone} backbone tells no attention "
                    "probabilities; leave it out."
                )

            def keep(_module: Any, _inputs: Any, output: Tensor, layer: int = layer) -> None:
                found[layer] = output[0].detach().float().cpu()

            stack.callback(point.register_forward_hook(keep).remove)
        transformer(tokens[None].to(model.device))
    lost = [layer for layer in layers if layer not in found]
    if lost:
        raise UnsupportedSiteError(
            f"block {lost[0]} of {model.name} made no attention probabilities in a pass; leave it out."
        )
    return found
