"""What a model remembers of the tokens that it has seen, so that the next need no second run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


class Cache(ABC):
    """What a model remembers of the tokens that it has seen; all rows have seen equally many.

    A cache of which no row is kept is empty again: rows of any length may join it.
    """

    @abstractmethod
    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Forget all rows but these, in this order."""

    @abstractmethod
    def join(self, other: Cache) -> None:
        """Append the rows of another cache that has seen equally many tokens."""


@dataclass(eq=False)
class Recompute(Cache):
    """The cache that remembers only the tokens, so that every pass starts from nothing.

    Slow, and the law that every other cache is held to.
    """

    tokens: Int[Tensor, "row pos"] | None = None

    def extend(self, tokens: Int[Tensor, "row new"]) -> Int[Tensor, "row pos"]:
        """Remember new tokens of every row; all of them so far."""
        self.tokens = tokens if self.tokens is None else torch.cat([self.tokens, tokens], dim=1)
        return self.tokens

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Forget all rows but these, in this order."""
        self.tokens = None if self.tokens is None or not len(rows) else self.tokens[rows]

    def join(self, other: Cache) -> None:
        """Append the rows of another cache that has seen equally many tokens."""
        assert isinstance(other, Recompute)
        both = [t for t in (self.tokens, other.tokens) if t is not None]
        self.tokens = torch.cat(both) if both else None
