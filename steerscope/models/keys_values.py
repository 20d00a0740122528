"""Keys and values of HookedTransformer: kept in place while decoding, or seen once and let go."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from steerscope.errors import BadValueError
from steerscope.models.attention import is_plain
from steerscope.models.caches import Cache
from steerscope.models.lens_model import LensModel


class GridEntry:
    """Keys and values of one layer, written in place.

    Where the attention is ours they lie as [row, group, token, d] and the keys are rotated;
    otherwise they lie as TransformerLens' attention reads them, [row, token, group, d], unrotated.
    """

    def __init__(self, grid: GridCache, keys: Tensor, values: Tensor) -> None:
        self._grid, self.keys, self.values = weakref.ref(grid), keys, values

    @property
    def grid(self) -> GridCache:
        """The cache of all layers, which whoever runs a pass holds.

        Known weakly: in a circle of references its memory would wait for the garbage collector.
        """
        grid = self._grid()
        assert grid is not None
        return grid

    @property
    def ours(self) -> bool:
        """Whether our attention reads it."""
        return self.grid.ours

    @property
    def n_tokens(self) -> int:
        """Tokens seen before this pass."""
        return self.grid.n_tokens

    @property
    def past_keys(self) -> Tensor:
        """Keys of the tokens seen before this pass, as TransformerLens asks for them."""
        past = self.keys[self.grid.rows]
        past = past.transpose(1, 2) if self.grid.ours else past
        return past[:, : self.n_tokens]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of this pass; all so far."""
        rows, seen, new = self.grid.rows, self.n_tokens, keys.shape[1]
        both = []
        for store, added in ((self.keys, keys), (self.values, values)):
            added = added.transpose(1, 2) if self.grid.ours else added
            store.narrow(self.grid.token_axis, seen, new)[rows] = added
            both.append(store[rows].narrow(self.grid.token_axis, 0, seen + new))
        return both[0], both[1]


class GridCache(Cache):
    """Preallocated keys and values of every layer, so that a step copies nothing but its own."""

    def __init__(self, model: LensModel, n_rows: int, n_tokens: int) -> None:
        shape = model.shape
        self.ours = is_plain(model.transformer)
        self.token_axis = 2 if self.ours else 1
        groups, d = shape.n_key_value_heads, shape.d_head
        size = (n_rows, groups, n_tokens, d) if self.ours else (n_rows, n_tokens, groups, d)
        device, dtype = model.device, model.dtype
        self.first_row, self.n_rows, self.n_tokens = 0, 0, 0
        self.entries = [
            GridEntry(self, *(torch.empty(size, device=device, dtype=dtype) for _ in "kv"))
            for _ in range(shape.n_layers)
        ]

    def __getitem__(self, layer: int) -> GridEntry:
        return self.entries[layer]

    @property
    def n_bytes(self) -> int:
        """Bytes of the room for all rows and tokens."""
        return sum(entry.keys.nbytes + entry.values.nbytes for entry in self.entries)

    def keys_so_far(self, layer: int, n_tokens: int) -> Tensor:
        """Keys of a layer for the first tokens, [row, group, token, d]."""
        keys = self.entries[layer].keys[self.rows]
        return (keys if self.ours else keys.transpose(1, 2)).narrow(2, 0, n_tokens)

    @property
    def rows(self) -> slice:
        """Where the rows in use lie."""
        return slice(self.first_row, self.first_row + self.n_rows)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Forget all rows but these, in this order; neighbours stay where they are, uncopied."""
        n_kept = len(rows)
        first = int(rows[0]) if n_kept else 0
        if n_kept and torch.equal(rows, torch.arange(first, first + n_kept, device=rows.device)):
            self.first_row += first
        else:
            for entry in self.entries:
                for store in (entry.keys, entry.values):
                    seen = store.narrow(self.token_axis, 0, self.n_tokens)[self.rows]
                    seen[:n_kept] = seen[rows]
        self.n_rows = n_kept

    def take(
        self,
        other: GridCache,
        rows: Int[Tensor, " row"],
        blocks: range,
        n_tokens: int | None = None,
        first: int = 0,
    ) -> None:
        """Copy rows of another cache into this one, in which nothing has run yet.

        Args:
            other: the cache.
            rows: of it.
            blocks: of which.
            n_tokens: so many of the first tokens; None for all.
            first: the row of this one at which they begin.
        """
        assert self.ours == other.ours
        self.n_rows = first + len(rows)
        seen = other.n_tokens if n_tokens is None else n_tokens
        mine_at = slice(self.first_row + first, self.rows.stop)
        for block in blocks if len(rows) else ():
            mine, theirs = self.entries[block], other.entries[block]
            for a, b in ((mine.keys, theirs.keys), (mine.values, theirs.values)):
                found = b[other.rows].narrow(self.token_axis, 0, seen)
                a.narrow(self.token_axis, 0, seen)[mine_at] = found[rows]

    def join(self, other: Cache) -> None:
        """Append the rows of another cache that has seen equally many tokens."""
        assert isinstance(other, GridCache)
        assert self.ours == other.ours
        assert self.n_rows == 0 or self.n_tokens == other.n_tokens
        new = slice(self.rows.stop, self.rows.stop + other.n_rows)
        for mine, theirs in zip(self.entries, other.entries, strict=True):
            for a, b in ((mine.keys, theirs.keys), (mine.values, theirs.values)):
                seen = b[other.rows].narrow(self.token_axis, 0, other.n_tokens)
                a.narrow(self.token_axis, 0, other.n_tokens)[new] = seen
        self.n_rows, self.n_tokens = self.n_rows + other.n_rows, other.n_tokens


class WholePass:
    """What stands for a cache in a pass that nothing follows; it keeps keys only if asked to."""

    def __init__(self, transformer: Any, *, keeps_keys: bool) -> None:
        self.ours, self.keeps_keys = is_plain(transformer), keeps_keys
        self.keys: dict[int, Tensor] = {}

    def __getitem__(self, layer: int) -> WholeEntry:
        return WholeEntry(self, layer)

    def keys_so_far(self, layer: int, n_tokens: int) -> Tensor:
        """Keys of a layer for the first tokens, [row, group, token, d]."""
        if layer not in self.keys:
            raise BadValueError(
                f"this pass did not run the keys of layer {layer}; start it at block {layer} or before."
            )
        keys = self.keys[layer]
        return (keys if self.ours else keys.transpose(1, 2)).narrow(2, 0, n_tokens)


class WholeEntry:
    """One layer of a pass that nothing follows."""

    n_tokens = 0
    past_keys = torch.empty(0, 0)  # as TransformerLens asks for them

    def __init__(self, whole: WholePass, layer: int) -> None:
        self.whole, self.layer, self.ours = whole, layer, whole.ours

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values of this pass, which are all there are."""
        if self.ours:
            keys, values = keys.transpose(1, 2), values.transpose(1, 2)
        if self.whole.keeps_keys:
            self.whole.keys[self.layer] = keys
        return keys, values
