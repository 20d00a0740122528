"""Weights with their singular values and vectors, found once per model and matrix and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import NotFiniteError
from steerscope.models.lens_model import LensModel
from steerscope.models.matrices import Matrix, weight_matrix
from steerscope.weights.places import Place


class SVD(NamedTuple):
    """W = U diag(s) Vh with s descending, thin."""

    u: Float[Tensor, "row rank"]
    s: Float[Tensor, " rank"]
    vh: Float[Tensor, "rank d"]


@dataclass(eq=False)
class Weight:
    """A weight matrix with what edits ask of it.

    Attributes:
        place: which.
        base: its numbers, inputs x outputs in float32, before any edit.
    """

    place: Place
    base: Float[Tensor, "row d"]
    _random: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def svd(self) -> SVD:
        """Singular values and vectors of the base."""
        return SVD(*torch.linalg.svd(self.base, full_matrices=False))

    @cached_property
    def norm(self) -> float:
        """Frobenius norm of the base."""
        return float(self.base.double().norm())

    def random_vectors(
        self, seed: int
    ) -> tuple[Float[Tensor, "row rank"], Float[Tensor, "rank d"]]:
        """Orthonormal vectors of both sides that know nothing of the weight, uniformly distributed."""
        if seed not in self._random:
            rank = min(self.base.shape)
            one, other = (
                self.noise(seed, n, rank, salt=1 + i) for i, n in enumerate(self.base.shape)
            )
            self._random[seed] = _orthonormal(one), _orthonormal(other).T
        return self._random[seed]

    def noise(self, seed: int, rows: int, columns: int, *, salt: int = 0) -> Float[Tensor, "row d"]:
        """Standard normal numbers, their own for each seed and place."""
        key = f"{seed} {self.place} {rows} {columns} {salt}"
        digest = hashlib.sha256(key.encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.randn(rows, columns, generator=generator).to(self.base)


@dataclass(eq=False)
class KeptWeight(Weight):
    """A weight of a model as it was loaded.

    Attributes:
        matrix: the door to where the model keeps it.
        version: of the numbers in memory that `base` was read from.
        depth: how many edits have replaced them just now.
    """

    matrix: Matrix
    version: tuple[int, int]
    depth: int = 0


def kept_weight(model: LensModel, place: Place) -> KeptWeight:
    """The weight at a place as it was loaded, with what was found out about it before.

    Raises:
        UnsupportedWeightError: the model has no such weight.
        NotFiniteError: it is not finite.
    """
    kept = _KEPT.setdefault(model, {})
    known = kept.get(place)
    if known is not None and (known.depth or known.version == _version(known.matrix)):
        return known
    matrix = weight_matrix(model, place.name, place.layer)
    base = matrix.read().float()
    if not bool(torch.isfinite(base).all()):
        raise NotFiniteError(f"weight {place} of {model.name} is not finite.")
    kept[place] = KeptWeight(place, base, matrix, _version(matrix))
    return kept[place]


def forget_weights(model: LensModel) -> None:
    """Free the memory of all that was found out about the weights of a model."""
    _KEPT.pop(model, None)


@contextmanager
def replaced(weight: KeptWeight, change: Float[Tensor, "row d"]) -> Iterator[None]:
    """While active, the model's weight is what it is now plus a change."""
    with weight.matrix.replaced(weight.matrix.read().float() + change):
        weight.depth += 1
        try:
            yield
        finally:
            weight.depth -= 1


_KEPT: WeakKeyDictionary[LensModel, dict[Place, KeptWeight]] = WeakKeyDictionary()


def _version(matrix: Matrix) -> tuple[int, int]:
    """Another value whenever the numbers have been replaced, or changed in place."""
    held = matrix.parameter.detach()
    return held.data_ptr(), held._version


def _orthonormal(noise: Float[Tensor, "row rank"]) -> Float[Tensor, "row rank"]:
    q, r = torch.linalg.qr(noise)
    return q * r.diagonal().sign()  # else not uniform
