"""Where a transformers module keeps a weight matrix, found by its numbers if need be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from steerscope.errors import UnsupportedWeightError


@dataclass(frozen=True, eq=False)
class Held:
    """A matrix W of y = x W within the weight of a module, which may hold others as well.

    Attributes:
        module: that keeps it.
        outputs: which of the module's outputs are those of W, in its order.
        turned: whether the module keeps it as outputs x inputs.
    """

    module: Any
    outputs: slice | Int[Tensor, " out"]
    turned: bool

    def read(self) -> Float[Tensor, "d out"]:
        """The numbers of W."""
        weight = self.module.weight.data
        return (weight.T if self.turned else weight)[:, self.outputs]

    @torch.no_grad()
    def write(self, weight: Float[Tensor, "d out"]) -> None:
        """Put other numbers in its place, for good."""
        kept = self.module.weight.data
        (kept.T if self.turned else kept)[:, self.outputs] = weight.to(kept)

    @torch.no_grad()
    def add_bias(self, bias: Float[Tensor, " out"], where: str) -> None:
        """Add to what the module adds, for good.

        Raises:
            UnsupportedWeightError: the module has no bias to add to.
        """
        kept = getattr(self.module, "bias", None)
        if not isinstance(kept, Tensor):
            raise UnsupportedWeightError(
                f"{where} has no bias in this architecture, so that no checkpoint of it can hold one; "
                "keep the adapter as a file, or train another kind."
            )
        kept.data[self.outputs] += bias.to(kept)


def find_held(network: nn.Module, numbers: Float[Tensor, "d out"], name: str, layer: int) -> Held:
    """The module of a block that holds a matrix, known by each of its columns being there.

    Raises:
        UnsupportedWeightError: no module of that block holds these numbers as they are.
    """
    wanted = _keys(numbers.T)
    for path, module in network.named_modules():
        kept = getattr(module, "weight", None)
        if f".{layer}." not in f".{path}." or not isinstance(kept, nn.Parameter) or kept.ndim != 2:
            continue
        for turned in (True, False):
            outputs = kept.data if turned else kept.data.T
            if outputs.shape[1] != numbers.shape[0] or len(outputs) < len(wanted):
                continue
            known = {key: place for place, key in enumerate(_keys(outputs))}
            places = [known.get(key, -1) for key in wanted]
            if min(places) >= 0 and len(set(places)) == len(places):
                return Held(module, torch.tensor(places), turned)
    raise UnsupportedWeightError(
        f"weight {name} of block {layer}: no module of a {type(network).__name__} holds it as it is, so "
        "that nothing can be written into a checkpoint; keep the change as a file."
    )


def _keys(rows: Float[Tensor, "row d"]) -> list[bytes]:
    """Each row to the bit."""
    plain = rows.detach().to("cpu", torch.float32).contiguous().numpy()
    return [row.tobytes() for row in plain]
