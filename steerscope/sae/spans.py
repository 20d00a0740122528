"""How much of a vector the decoder rows of some features carry between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import BadValueError, DegenerateDirectionError

_NOTHING_NEW = 1e-6  # length of a unit row's part outside the span that counts as none
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Spans:
    """For each vector, features in order, and the share of its squared norm in the span of the first.

    Attributes:
        features: numbers of the features.
        share: ‖P v‖² / ‖v‖², P the projection on the decoder rows of the features up to each place.
    """

    features: Int[Tensor, "draw rank"]
    share: Float[Tensor, "draw rank"]


def pursued(decoder: Float[Tensor, "feature d"], vectors: Float[Tensor, "draw d"], k: int) -> Spans:
    """The features that carry most of each vector, each the next best to all before it.

    The next feature is the one whose decoder row has the largest |cosine| with what the span of
    those before leaves of the vector. The share is exact for the features chosen; that no other k
    features carry more is not promised, since the best k cannot be found without trying all.

    Args:
        decoder: rows of norm 1.
        vectors: of any length but 0.
        k: how many features.

    Raises:
        BadValueError: k is not between 1 and the size of the dictionary.
        DegenerateDirectionError: a vector is zero.

    Source: Pati, Rezaiifar & Krishnaprasad 1993, orthogonal matching pursuit.
    """
    check_count(k, len(decoder))
    growth = _Growth(vectors)
    rows = decoder.to(growth.rest)
    everyone = torch.arange(len(vectors), device=rows.device)
    taken = torch.zeros(len(vectors), len(rows), dtype=torch.bool, device=rows.device)
    chosen = []
    for _ in range(k):
        best = (growth.rest @ rows.T).abs().masked_fill(taken, -1.0).argmax(dim=1)
        taken[everyone, best] = True
        chosen.append(best)
        growth.add(rows[best])
    return Spans(torch.stack(chosen, dim=1), growth.share)


def carried(
    decoder: Float[Tensor, "feature d"],
    vectors: Float[Tensor, "draw d"],
    features: Int[Tensor, "draw rank"],
) -> Spans:
    """What the first, the first two, ... of these features carry of each vector, in the order given.

    Raises:
        DegenerateDirectionError: a vector is zero.
    """
    growth = _Growth(vectors)
    for best in features.unbind(dim=1):
        growth.add(decoder[best].to(growth.rest))
    return Spans(features, growth.share)


class _Growth:
    """What growing spans leave of vectors, which are scaled to norm 1; in double precision."""

    def __init__(self, vectors: Tensor) -> None:
        norms = vectors.double().norm(dim=1, keepdim=True)
        if not bool((norms > 0).all()):
            raise DegenerateDirectionError("a vector of zeros has no share that features carry.")
        self.rest = vectors.double() / norms
        self.basis: list[Tensor] = []
        self.shares: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        """Widen each span by a row, if it points anywhere new."""
        new = rows
        for _ in range(2):  # once leaves a rounding error along the basis
            for old in self.basis:
                new = new - (new * old).sum(dim=1, keepdim=True) * old
        length = new.norm(dim=1, keepdim=True)
        new = torch.where(length > _NOTHING_NEW, new / length.clamp_min(_NOTHING_NEW), 0.0)
        self.basis.append(new)
        self.rest = self.rest - (self.rest * new).sum(dim=1, keepdim=True) * new
        self.shares.append(1.0 - (self.rest**2).sum(dim=1))

    @property
    def share(self) -> Tensor:
        return torch.stack(self.shares, dim=1).clamp_min(0).float()


def check_count(k: int, n_features: int) -> None:
    """Refuse more features than a dictionary has, or none.

    Raises:
        BadValueError: k is not between 1 and the size of the dictionary.
    """
    if not 1 <= k <= n_features:
        raise BadValueError(
            f"{k} features of a dictionary of {n_features}; choose 1 to {n_features}."
        )


def participation_ratio(values: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch"]:
    """(Σ v²)² / Σ v⁴: how many features share the squared values evenly; 0 where all are zero."""
    squares = values.double() ** 2
    total = squares.sum(dim=-1)
    fourth = (squares**2).sum(dim=-1)
    return torch.where(total > 0, total**2 / fourth.clamp_min(_TINY), 0.0).to(values.dtype)


def top_share(values: Float[Tensor, "*batch feature"], k: int) -> Float[Tensor, "*batch"]:
    """Share of Σ v² that the k largest hold; 0 where all are zero."""
    squares = values.double() ** 2
    total = squares.sum(dim=-1)
    held = squares.topk(k, dim=-1).values.sum(dim=-1)
    return torch.where(total > 0, held / total.clamp_min(_TINY), 0.0).to(values.dtype)
