"""Kinds that scale or shift what a weight gives: IA3, and biases alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.weights.adapter.kinds.kind import Parts, Sizes, nothing_fixed
from steerscope.weights.changes import Change


@dataclass(frozen=True)
class IA3:
    """W(c) = W diag(1 + c s): every output is scaled; s starts at zero.

    Source: Liu et al. 2022 (arXiv:2205.05638), which scales keys, values and what `down` reads; here
    it is what the weight gives, and there c = 1.
    """

    reversal: str = "exact: W(-c) - W is minus W(c) - W"
    learning_rate: float = 2e-2
    sizes: tuple[str, ...] = ()

    fixed = staticmethod(nothing_fixed)

    def fresh(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """s."""
        del sizes, generator
        return {"scale": torch.zeros(weight.shape[1])}

    def change(self, weight: Float[Tensor, "d out"], parts: Parts, c: float) -> Change:
        """c W diag(s)."""
        return Change(weight * (c * parts["scale"]))


@dataclass(frozen=True)
class Bias:
    """y = x W + c b: a vector is added to what the weight gives; the weight itself stays.

    A steering vector of each place, trained and not found. A checkpoint whose modules have no bias
    cannot hold it: there it merges into none.

    Source: Ben Zaken et al. 2021 (arXiv:2106.10199), which trains the biases that there are.
    """

    reversal: str = "exact: what is added at -c is minus what is added at c"
    learning_rate: float = 1e-2
    sizes: tuple[str, ...] = ()

    fixed = staticmethod(nothing_fixed)

    def fresh(
        self, weight: Float[Tensor, "d out"], sizes: Sizes, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """b."""
        del sizes, generator
        return {"bias": torch.zeros(weight.shape[1])}

    def change(self, weight: Float[Tensor, "d out"], parts: Parts, c: float) -> Change:
        """No change of the weight, and c b."""
        nothing = weight.new_zeros(len(weight), 1), weight.new_zeros(1, weight.shape[1])
        return Change(*nothing, bias=c * parts["bias"])
