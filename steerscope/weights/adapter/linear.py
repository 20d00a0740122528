"""Changes that grow in proportion to their coefficient: LoRA's, and whole fine-tuned matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import UnsupportedWeightError
from steerscope.models.lens_model import LensModel
from steerscope.models.matrices import WEIGHTS, weight_matrix
from steerscope.weights.adapter.passes import run_with, weight_of
from steerscope.weights.changes import Change
from steerscope.weights.places import Place


@dataclass(frozen=True, eq=False)
class LinearChange:
    """W(c) = W + c D on each of its weights.

    Attributes:
        method: how it was trained.
        parts: D of each weight.
        fingerprint: of the model.
        n_parameters: numbers that were trained.
        seed: of the training.
    """

    method: str
    parts: Mapping[Place, Change]
    fingerprint: str
    n_parameters: int
    seed: int = 0

    @property
    def matrices(self) -> tuple[Place, ...]:
        """The weights that it changes."""
        return tuple(self.parts)

    def deltas(self, coefficient: float) -> dict[Place, Change]:
        """What is added to each weight."""
        return {m: Change(coefficient * d.left, d.right) for m, d in self.parts.items()}


def every_matrix(model: LensModel) -> tuple[Place, ...]:
    """All weight matrices of all blocks."""
    places = (Place(name, i) for i in range(model.shape.n_layers) for name in WEIGHTS)
    return tuple(place for place in places if has_matrix(model, place))


def has_matrix(model: LensModel, place: Place) -> bool:
    """Whether a block has a weight of that name as plain numbers of its own."""
    try:
        weight_matrix(model, place.name, place.layer)
    except UnsupportedWeightError:
        return False
    return True


class FullTrainee:
    """Every matrix of every block; embeddings, norms and biases stay.

    What is trained is the difference from the weights, so that a change at c is c times it.
    """

    def __init__(self, model: LensModel) -> None:
        self.model = model
        self.changes = {
            m: torch.zeros_like(weight_of(model, m)).to(model.device).requires_grad_()
            for m in every_matrix(model)
        }

    def __repr__(self) -> str:
        return "FullTrainee()"

    def parameters(self) -> dict[str, Tensor]:
        """What is trained, by weight."""
        return {str(m): t for m, t in self.changes.items()}

    def run(
        self, tokens: Int[Tensor, "row pos"], coefficient: float, layers: Sequence[int]
    ) -> tuple[Float[Tensor, "row pos vocab"], dict[int, Float[Tensor, "row pos d"]]]:
        """Logits and outputs of blocks at a coefficient."""
        deltas = (
            {m: Change(coefficient * t) for m, t in self.changes.items()} if coefficient else {}
        )
        return run_with(self.model, deltas, tokens, layers)

    def change(self, seed: int, sign: int) -> LinearChange:
        """What was trained."""
        parts = {m: Change(sign * t.detach().cpu()) for m, t in self.changes.items()}
        count = sum(t.numel() for t in self.changes.values())
        return LinearChange("fine_tuning", parts, self.model.fingerprint, count, seed)
