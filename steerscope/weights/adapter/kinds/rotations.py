"""Kinds that turn what a weight reads or gives: OFT, BOFT and RoAd."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import BadValueError
from steerscope.weights.adapter.kinds.kind import Parts, Sizes, check_blocks, nothing_fixed
from steerscope.weights.changes import Change

_FACTORS = 2  # butterfly factors of BOFT


def cayley_blocks(
    upper: Float[Tensor, "block plane"], size: int, c: float
) -> Float[Tensor, "block row d"]:
    """R = (I - cQ) (I + cQ)⁻¹ of each block, Q skew with these numbers above its diagonal.

    R(-c) = R(c)ᵀ, and R(0) = I exactly.
    """
    rows, columns = torch.triu_indices(size, size, 1, device=upper.device)
    skew = upper.new_zeros(len(upper), size, size)
    blocks = torch.arange(len(upper), device=upper.device)[:, None]
    skew = skew.index_put((blocks, rows, columns), upper)
    skew = c * (skew - skew.transpose(1, 2))
    one = torch.eye(size, device=upper.device, dtype=upper.dtype).expand_as(skew)
    return torch.linalg.solve(one + skew, one - skew, left=False)


@dataclass(frozen=True)
class OFT:
    """W(c) = R(c) W, with R a rotation of each block of what the weight reads.

    Source: Qiu et al. 2023 (arXiv:2306.07280), Cayley's rotation without its truncated series; there
    c = 1.
    """

    reversal: str = "exact: R(-c) turns back what R(c) turns"
    learning_rate: float = 5e-3
    sizes: tuple[str, ...] = ("block",)

    fixed = staticmethod(nothing_fixed)

    def fresh(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The planes of each block."""
        del generator
        n = check_blocks(len(weight), sizes.block, "inputs")
        return {"planes": torch.zeros(n, sizes.block * (sizes.block - 1) // 2)}

    def change(self, weight: Float[Tensor, "d out"], parts: Parts, c: float) -> Change:
        """(R(c) - I) W."""
        planes = parts["planes"]
        turned = cayley_blocks(planes, len(weight) // len(planes), c)
        one = torch.eye(turned.shape[-1], device=turned.device, dtype=turned.dtype)
        return Change(torch.block_diag(*(turned - one)), weight)


@dataclass(frozen=True)
class BOFT:
    """W(c) = B(c) W diag(1 + c s), with B a product of two rotations of blocks, shuffled between them.

    Source: Liu et al. 2023 (arXiv:2311.06243); there c = 1.
    """

    reversal: str = "to first order: B(-c) is the product of the turned factors in the same order"
    learning_rate: float = 5e-3
    sizes: tuple[str, ...] = ("block",)

    fixed = staticmethod(nothing_fixed)

    def fresh(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The planes of each block of each factor, and s."""
        del generator
        n = check_blocks(len(weight), sizes.block, "inputs")
        if sizes.block % 2 or n % 2:
            raise BadValueError(
                f"boft needs an even number of blocks of an even size, and {len(weight)} inputs make "
                f"{n} blocks of {sizes.block}; choose another block."
            )
        planes = sizes.block * (sizes.block - 1) // 2
        return {
            "planes": torch.zeros(_FACTORS, n, planes),
            "scale": torch.zeros(weight.shape[1]),
        }

    def change(self, weight: Float[Tensor, "d out"], parts: Parts, c: float) -> Change:
        """B(c) W diag(1 + c s) - W."""
        planes = parts["planes"]
        width, n = len(weight), planes.shape[1]
        turned = weight
        for number, factor in enumerate(planes):
            order = shuffled(width, n // 2**number, width // n // 2).to(weight.device)
            blocks = torch.block_diag(*cayley_blocks(factor, width // n, c))
            turned = (blocks @ turned[torch.argsort(order)])[order]
        return Change(turned * (1 + c * parts["scale"]) - weight)


def shuffled(width: int, n_blocks: int, half: int) -> Int[Tensor, " d"]:
    """The order in which a butterfly reads: within each block, pieces of even number before odd ones."""
    size = width // n_blocks
    pieces = torch.arange(size).reshape(-1, half)
    within = torch.cat([pieces[0::2], pieces[1::2]]).flatten()
    return (torch.arange(0, width, size)[:, None] + within).flatten()


@dataclass(frozen=True)
class RoAd:
    """y = x W(c): pairs of outputs are turned by c θ and scaled by 1 + c s.

    Source: Liu et al. 2024 (arXiv:2409.00119), its variant 1, of the weight without its bias; there
    c = 1.
    """

    reversal: str = "of the rotation exact; of the scale to first order"
    learning_rate: float = 1e-2
    sizes: tuple[str, ...] = ("block",)

    fixed = staticmethod(nothing_fixed)

    def fresh(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """θ and s of each pair of outputs."""
        del generator
        if sizes.block % 2:
            raise BadValueError(
                f"road turns pairs, and a block of {sizes.block} is odd; take another."
            )
        n = check_blocks(weight.shape[1], sizes.block, "outputs")
        shape = n, sizes.block // 2
        return {"angle": torch.zeros(shape), "scale": torch.zeros(shape)}

    def change(self, weight: Float[Tensor, "d out"], parts: Parts, c: float) -> Change:
        """W(c) - W."""
        first, second = rearrange(
            weight, "d (block two half) -> two d block half", two=2, half=parts["angle"].shape[1]
        )
        scale = 1 + c * parts["scale"]
        cosine, sine = scale * torch.cos(c * parts["angle"]), scale * torch.sin(c * parts["angle"])
        turned = torch.stack([first * cosine - second * sine, second * cosine + first * sine])
        return Change(rearrange(turned, "two d block half -> d (block two half)") - weight)
