"""Kinds that add a product of thin matrices: LoRA, DoRA, DeLoRA and VeRA."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.weights.adapter.factors import check_rank
from steerscope.weights.adapter.kinds.kind import Parts, Sizes, nothing_fixed, spread
from steerscope.weights.changes import Change

_SMALLEST = 1e-4  # below which peft takes no norm of a factor in DeLoRA


def _factors(
    weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
) -> dict[str, Tensor]:
    check_rank(weight, sizes.rank, "an adapter")
    d, out = weight.shape
    return {"a": spread(d, sizes.rank, generator), "b": torch.zeros(sizes.rank, out)}


@dataclass(frozen=True)
class LoRA:
    """W(c) = W + c A B; B starts at zero.

    Source: Hu et al. 2021 (arXiv:2106.09685), with α = rank.
    """

    reversal: str = "exact: W(-c) - W is minus W(c) - W"
    learning_rate: float = 5e-3
    sizes: tuple[str, ...] = ("rank",)

    fresh = staticmethod(_factors)
    fixed = staticmethod(nothing_fixed)

    def change(self, weight: Float[Tensor, "d out"], parts: Parts, c: float) -> Change:  # noqa: ARG002
        """c A B."""
        return Change(c * parts["a"], parts["b"])


@dataclass(frozen=True)
class DoRA:
    """W(c) = (W + c A B) (m + c Δm) / |W + c A B|, column by column, with m = |W|.

    Source: Liu et al. 2024 (arXiv:2402.09353); there c = 1.
    """

    reversal: str = "to first order: the length of a column turns with c, its direction with A B"
    learning_rate: float = 5e-3
    sizes: tuple[str, ...] = ("rank",)

    fixed = staticmethod(nothing_fixed)

    def fresh(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """A, B and what is added to the length of each column."""
        return _factors(weight, sizes, generator) | {"length": torch.zeros(weight.shape[1])}

    def change(self, weight: Float[Tensor, "d out"], parts: Parts, c: float) -> Change:
        """W(c) - W."""
        before = weight.norm(dim=0)
        moved = weight + c * (parts["a"] @ parts["b"])
        lengths = (before + c * parts["length"]) / moved.norm(dim=0).clamp_min(1e-12)
        return Change(moved * lengths - weight)


@dataclass(frozen=True)
class DeLoRA:
    """W(c) = W + c diag(|W|) Â diag(λ / r) B̂, with columns of A and rows of B of length 1.

    |W| is the norm of each input's row; λ bounds how far the weight moves, and starts at 1.

    Source: Bini et al. 2025 (arXiv:2503.18225); there c = 1 and λ starts at 15.
    """

    reversal: str = "exact: W(-c) - W is minus W(c) - W"
    learning_rate: float = 5e-3
    sizes: tuple[str, ...] = ("rank",)

    fixed = staticmethod(nothing_fixed)

    def fresh(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """A, B and λ."""
        return _factors(weight, sizes, generator) | {"bound": torch.ones(1)}

    def change(self, weight: Float[Tensor, "d out"], parts: Parts, c: float) -> Change:
        """c times what is added at 1."""
        a, b = parts["a"], parts["b"]
        lengths = a.norm(dim=0).clamp_min(_SMALLEST) * b.norm(dim=1).clamp_min(_SMALLEST)
        scale = c * parts["bound"] / len(b) / lengths
        return Change(weight.norm(dim=1)[:, None] * a * scale, b)


@dataclass(frozen=True)
class VeRA:
    """W(c) = W + c A diag(d) B diag(e); A and B are random and never trained, e starts at zero.

    Source: Kopiczko et al. 2023 (arXiv:2310.11454), with d = 0.1 at the start.
    """

    reversal: str = "exact: W(-c) - W is minus W(c) - W"
    learning_rate: float = 2e-2
    sizes: tuple[str, ...] = ("rank",)

    def fresh(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """d and e."""
        del generator  # nothing trained is drawn
        check_rank(weight, sizes.rank, "an adapter")
        return {"d": torch.full((sizes.rank,), 0.1), "e": torch.zeros(weight.shape[1])}

    def fixed(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """A and B."""
        d, out = weight.shape
        return {
            "a": spread(d, sizes.rank, generator),
            "b": spread(sizes.rank, out, generator),
        }

    def change(self, weight: Float[Tensor, "d out"], parts: Parts, c: float) -> Change:  # noqa: ARG002
        """c A diag(d) B diag(e)."""
        return Change(c * parts["a"] * parts["d"], parts["b"] * parts["e"])
