"""Keys with the same lengths or the same components, and nothing that ties them together."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def random_keys(
    keys: Float[Tensor, "*batch token d"], generator: torch.Generator
) -> Float[Tensor, "*batch token d"]:
    """Keys of the same lengths whose directions are drawn evenly from the sphere."""
    drawn = torch.randn(keys.shape, generator=generator)
    return drawn * (keys.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True))


def permuted_keys(
    keys: Float[Tensor, "*batch token d"], generator: torch.Generator
) -> Float[Tensor, "*batch token d"]:
    """Each component of the keys shuffled over the tokens, independently of all others.

    Every component keeps its distribution; what components have to do with each other is gone.
    """
    order = torch.rand(keys.shape, generator=generator).argsort(dim=-2)
    return keys.gather(-2, order)
