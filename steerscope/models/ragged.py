"""Keys and values of rows that have seen differently many tokens, for batches that rows join as they come."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from steerscope.models.caches import Cache
from steerscope.models.keys_values import GridCache
from steerscope.models.lens_model import LensModel

_TOKENS_MORE = 64  # places that are added at once, so that memory seldom moves


class RaggedEntry:
    """Keys, rotated, and values of one layer, [row, group, token, d]."""

    ours = True
    past_keys = torch.empty(0, 0)  # as TransformerLens asks for them

    def __init__(self, cache: RaggedCache, keys: Tensor, values: Tensor) -> None:
        self._cache, self.keys, self.values = weakref.ref(cache), keys, values

    @property
    def cache(self) -> RaggedCache:
        """The cache of all layers, known weakly as in `GridEntry`."""
        cache = self._cache()
        assert cache is not None
        return cache

    @property
    def n_tokens(self) -> Int[Tensor, " row"]:
        """Tokens that each row has seen before this pass."""
        return self.cache.n_tokens

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store one new token of every row behind its own; all so far, with what is beyond a shorter row."""
        cache, both = self.cache, []
        for store, added in ((self.keys, keys), (self.values, values)):
            store[cache.places, :, cache.n_tokens] = added[:, 0]
            both.append(store[: cache.n_rows, :, : cache.longest + 1])
        return both[0], both[1]


class RaggedCache(Cache):
    """As `GridCache`, but each row has its own number of tokens and goes on behind them.

    One token of every row is added in a pass. What lies beyond a row is zeros or old numbers that are
    finite, since attention gives it no weight and nothing times a NaN is a NaN.

    Attributes:
        n_tokens: that each row has seen.
        longest: the most of them.
    """

    def __init__(self, model: LensModel) -> None:
        shape = model.shape
        self._size = (shape.n_key_value_heads, shape.d_head)
        self._device, self._dtype = model.device, model.dtype
        self.n_tokens: Int[Tensor, " row"] = torch.empty(0, dtype=torch.long, device=model.device)
        self.longest = 0
        self.entries = [
            RaggedEntry(self, *(self._empty(0, 0) for _ in "kv")) for _ in range(shape.n_layers)
        ]

    def __getitem__(self, layer: int) -> RaggedEntry:
        return self.entries[layer]

    @property
    def n_rows(self) -> int:
        """Rows in use."""
        return len(self.n_tokens)

    @property
    def places(self) -> Int[Tensor, " row"]:
        """Where the rows lie."""
        return torch.arange(self.n_rows, device=self.n_tokens.device)

    def grown(self) -> None:
        """A pass has added a token to every row."""
        self.n_tokens, self.longest = self.n_tokens + 1, self.longest + 1

    def reserve(self, n_rows: int, n_tokens: int) -> None:
        """Make room for so many rows and tokens."""
        rows, _, tokens, _ = self.entries[0].keys.shape
        if rows >= n_rows and tokens >= n_tokens:
            return
        rows = rows if rows >= n_rows else max(n_rows, 2 * rows)
        tokens = tokens if tokens >= n_tokens else -(-n_tokens // _TOKENS_MORE) * _TOKENS_MORE
        for entry in self.entries:
            for name in ("keys", "values"):
                old, new = getattr(entry, name), self._empty(rows, tokens)
                new[: self.n_rows, :, : self.longest] = old[: self.n_rows, :, : self.longest]
                setattr(entry, name, new)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Forget all rows but these, in this order; those that stay in their place are not copied.

        Without any, the memory is given back.
        """
        self.n_tokens = self.n_tokens[rows]
        if not len(rows):
            self.longest = 0
            for entry in self.entries:
                entry.keys, entry.values = self._empty(0, 0), self._empty(0, 0)
            return
        self.longest = int(self.n_tokens.max())
        moved = rows != self.places
        if bool(moved.any()):
            to, of = self.places[moved], rows[moved]
            for entry in self.entries:
                for store in (entry.keys, entry.values):
                    store[to, :, : self.longest] = store[of, :, : self.longest]
                    store[to, :, self.longest :] = 0  # the row that was here may have left a NaN

    def join(self, other: Cache) -> None:
        """Append the rows of a cache whose rows have all seen equally many tokens."""
        assert isinstance(other, GridCache)
        assert other.ours
        first, length = self.n_rows, other.n_tokens
        self.reserve(first + other.n_rows, length + 1)
        for mine, theirs in zip(self.entries, other.entries, strict=True):
            for a, b in ((mine.keys, theirs.keys), (mine.values, theirs.values)):
                new = a[first : first + other.n_rows]
                new[:, :, :length] = b[other.rows, :, :length]
                new[:, :, length:] = 0  # whoever was here before may have left a NaN
        added = self.n_tokens.new_full((other.n_rows,), length)
        self.n_tokens = torch.cat([self.n_tokens, added])
        self.longest = max(self.longest, length)

    def _empty(self, rows: int, tokens: int) -> Tensor:
        groups, d = self._size
        return torch.zeros(rows, groups, tokens, d, device=self._device, dtype=self._dtype)


def without(n_rows: int, ended: Sequence[int]) -> list[int]:
    """The rows that stay where some leave: each place that falls empty is filled from the end."""
    order, gone = list(range(n_rows)), set(ended)
    for place in sorted(gone):
        while order and order[-1] in gone:
            order.pop()
        if place < len(order):
            order[place] = order.pop()
    return order
