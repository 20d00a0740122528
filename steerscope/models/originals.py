"""The transformers model behind a `LensModel`: what is fine-tuned, and what a merge writes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from steerscope.errors import UnsupportedWeightError
from steerscope.models.held import Held, find_held

_ATTENTION = ("q", "k", "v", "o")
_GPT2 = {"o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}


@dataclass(frozen=True, eq=False)
class Original:
    """A transformers model as it is in its folder, with its tokenizer.

    Attributes:
        network: the transformers module.
        tokenizer: the Hugging Face tokenizer.
        fingerprint: as that of the `LensModel` made of it.
    """

    network: Any
    tokenizer: Any
    fingerprint: str

    def place(self, name: str, layer: int) -> tuple[str, slice]:
        """The module that holds a matrix, by its path, and the columns that are this matrix.

        Raises:
            UnsupportedWeightError: the architecture keeps it elsewhere.
        """
        modules = dict(self.network.named_modules())
        part = "self_attn" if name in _ATTENTION else "mlp"
        path = f"model.layers.{layer}.{part}.{name}_proj"
        if path in modules:
            return path, slice(None)
        if f"transformer.h.{layer}.attn.c_attn" in modules:
            if name in _GPT2:
                return f"transformer.h.{layer}.{_GPT2[name]}", slice(None)
            width = self.network.config.n_embd
            # of GPT-2; GPTBigCode shares keys, or lays heads one after another
            three = getattr(modules[f"transformer.h.{layer}.attn.c_attn"], "nf", 0) == 3 * width
            if name in _ATTENTION and three:
                number = _ATTENTION.index(name)
                columns = slice(number * width, (number + 1) * width)
                return f"transformer.h.{layer}.attn.c_attn", columns
        raise UnsupportedWeightError(
            f"weight {name} of block {layer}: no module of its own is known in a "
            f"{type(self.network).__name__}; Llama-like models and GPT-2 are."
        )

    def held(
        self, name: str, layer: int, numbers: Callable[[], Float[Tensor, "d out"]] | None = None
    ) -> Held:
        """Where a matrix W of y = x W is kept.

        Args:
            name: of the matrix.
            layer: the block.
            numbers: gives W itself, by which it is found in an architecture that is not known.

        Raises:
            UnsupportedWeightError: the architecture keeps it elsewhere.
        """
        try:
            path, columns = self.place(name, layer)
        except UnsupportedWeightError:
            if numbers is None:
                raise
            return find_held(self.network, numbers(), name, layer)
        module: Any = self.network.get_submodule(path)
        return Held(module, columns, isinstance(module, nn.Linear))

    def weight(self, name: str, layer: int) -> Float[Tensor, "d out"]:
        """A matrix W of y = x W in an architecture that is known: a view, so that writing changes the model.

        Raises:
            UnsupportedWeightError: the architecture keeps it elsewhere.
        """
        return self.held(name, layer).read()
