"""LoRA by peft, trained by the same objective on the transformers model; the only door to peft."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, get_peft_model
from torch import Tensor

from steerscope.errors import BadValueError
from steerscope.models.loading import Original
from steerscope.weights.adapter.linear import LinearChange
from steerscope.weights.changes import Change
from steerscope.weights.places import Place

_ADAPTER = "default"


class LoraTrainee:
    """A transformers model with LoRA layers on some matrices; c multiplies their scaling.

    Args:
        original: the model; peft puts its layers into it.
        matrices: each must be a module of its own, which GPT-2's q, k and v are not.
        rank: of each.
        seed: of the random start of A; B starts at zero.

    Raises:
        UnsupportedWeightError: the architecture keeps a matrix where it is not known.
        BadValueError: a matrix that shares its module with others.

    Source: Hu et al. 2021 (arXiv:2106.09685), with α = rank, so that a change is B A.
    """

    def __init__(
        self, original: Original, matrices: Sequence[Place], *, rank: int, seed: int = 0
    ) -> None:
        self.rank, self.fingerprint = rank, original.fingerprint
        places = {m: original.place(m.name, m.layer) for m in matrices}
        shared = [str(m) for m, (_, columns) in places.items() if columns != slice(None)]
        if shared:
            raise BadValueError(
                f"LoRA needs modules of their own, and {', '.join(shared)} share one; name others."
            )
        paths = [path for path, _ in places.values()]
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # peft asks transformers for a name that is on its way out
            warnings.simplefilter("ignore", FutureWarning)
            torch.manual_seed(seed)
            turned = not hasattr(original.network.get_submodule(paths[0]), "in_features")
            config = LoraConfig(
                r=rank, lora_alpha=rank, target_modules=paths, fan_in_fan_out=turned
            )
            self.network: Any = get_peft_model(original.network, config)
        self.network.eval()
        inner: Any = self.network.base_model.model
        self.layers: dict[Place, Any] = {
            m: inner.get_submodule(path) for m, (path, _) in places.items()
        }

    def __repr__(self) -> str:
        return f"LoraTrainee({', '.join(map(str, self.layers))}, rank={self.rank})"

    def parameters(self) -> dict[str, Tensor]:
        """A and B of each matrix."""
        found = {}
        for matrix, layer in self.layers.items():
            found[f"{matrix} A"] = layer.lora_A[_ADAPTER].weight
            found[f"{matrix} B"] = layer.lora_B[_ADAPTER].weight
        return found

    def run(
        self, tokens: Int[Tensor, "row pos"], coefficient: float, layers: Sequence[int]
    ) -> tuple[Float[Tensor, "row pos vocab"], dict[int, Float[Tensor, "row pos d"]]]:
        """Logits and outputs of blocks at a coefficient."""
        for layer in self.layers.values():
            layer.scaling[_ADAPTER] = coefficient
        out = self.network(tokens, output_hidden_states=True, use_cache=False)
        # transformers gives the last block's output behind the final norm
        return out.logits, {layer: out.hidden_states[layer + 1] for layer in layers}

    def change(self, seed: int, sign: int) -> LinearChange:
        """What was trained, for the hooked model."""
        parts = {}
        for matrix, layer in self.layers.items():
            a, b = (getattr(layer, f"lora_{side}")[_ADAPTER].weight.detach() for side in "AB")
            parts[matrix] = Change(sign * a.T.clone(), b.T.clone())
        count = sum(math.prod(t.shape) for t in self.parameters().values())
        return LinearChange("lora", parts, self.fingerprint, count, seed)
