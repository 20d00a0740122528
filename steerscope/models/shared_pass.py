"""A pass over prompts by HookedTransformer, of which every condition starts at its own block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.models.caches import Cache
from steerscope.models.keys_values import GridCache
from steerscope.models.plain_pass import PlainPass

if TYPE_CHECKING:
    from steerscope.models.hooked import HookedLensModel

# Bytes of logits made at once: larger pieces of memory are given back to the system after use, and
# getting them again costs a third of the time of making the logits.
_LOGITS_AT_ONCE = 24 * 2**20


class SharedPass(PlainPass):
    """What every block starts from, and its keys and values, so that a condition starts at its own.

    Attributes:
        starts: the input of block 0, and what each block gives to the hooks at its end.
    """

    model: HookedLensModel

    def __init__(
        self,
        model: HookedLensModel,
        tokens: Int[Tensor, "prompt pos"],
        starts: list[Float[Tensor, "prompt _ d"]],
        cache: GridCache,
    ) -> None:
        super().__init__(model, tokens)
        self.starts, self.cache = starts, cache

    def first_run(self, block: int) -> int:
        """The first block that really runs for a condition that changes nothing below `block`."""
        return block

    def continued(self, prompts: Int[Tensor, " row"], tokens: Int[Tensor, "row new"]) -> PlainPass:
        """A plain pass over rows of these prompts and tokens after them; the prompts run no more."""
        model, (n_rows, n_new) = self.model, tokens.shape
        cache = model.new_cache(n_rows, self.tokens.shape[1] + n_new)
        cache.take(self.cache, prompts, model.shape.n_layers)
        cache.n_tokens = self.cache.n_tokens
        starts = model.run_and_keep(tokens, cache)
        return ContinuedPass(self, prompts, tokens, starts, cache)

    def start(self, block: int, rows: Int[Tensor, " row"]) -> Float[Tensor, "row pos d"]:
        """What some rows give to the hooks before a block."""
        return self.starts[block][rows]

    def resume(
        self,
        prompts: Int[Tensor, " row"],
        block: int,
        *,
        cache: Cache | None = None,
        last: int | None = None,
    ) -> Float[Tensor, "row out vocab"]:
        """Logits of rows of these prompts, run from `block` on; fills an empty cache."""
        residual = self._resumed(prompts, block, cache)
        return self.model.unembed(residual if last is None else residual[:, -last:])

    def resume_in_parts(
        self, prompts: Int[Tensor, " row"], block: int, *, last: int
    ) -> Iterator[tuple[Int[Tensor, " part"], Float[Tensor, "part out vocab"]]]:
        """As `resume` without a cache, the logits of a few rows at a time, with their numbers."""
        residual = self._resumed(prompts, block, None)[:, -last:]
        width = last * self.model.shape.n_vocab * self.model.dtype.itemsize
        for part in torch.arange(len(prompts)).split(max(1, _LOGITS_AT_ONCE // width)):
            yield part, self.model.unembed(residual[int(part[0]) : int(part[-1]) + 1])

    def _resumed(
        self, prompts: Int[Tensor, " row"], block: int, cache: Cache | None
    ) -> Float[Tensor, "row pos d"]:
        if cache is not None:
            assert isinstance(cache, GridCache)
            cache.take(self.cache, prompts, block)
        clock, n_blocks = self.model.clock, self.model.shape.n_layers
        residual = self.start(block, prompts)
        with self.model.turn.using(), clock.telling(lambda: self.tokens[prompts]):
            clock.begin(0, self.tokens.shape[1])
            if block:
                before: Any = self.model.transformer.blocks[block - 1]
                residual = before.hook_resid_post(residual)
            if block < n_blocks:
                return self.model.run_blocks(residual, cache, block)
        if cache is not None:
            cache.n_tokens = self.cache.n_tokens
        return residual


class ContinuedPass(SharedPass):
    """Rows of prompts that ran before, and tokens after them.

    Attributes:
        before: the pass over the prompts.
        which: the prompt of each row.
    """

    def __init__(
        self,
        before: SharedPass,
        which: Int[Tensor, " row"],
        tokens: Int[Tensor, "row new"],
        starts: list[Float[Tensor, "row new d"]],
        cache: GridCache,
    ) -> None:
        whole = torch.cat([before.tokens[which], tokens], dim=1)
        super().__init__(before.model, whole, starts, cache)
        self.before, self.which = before, which

    def start(self, block: int, rows: Int[Tensor, " row"]) -> Float[Tensor, "row pos d"]:
        """What some rows give to the hooks before a block, prompt and all."""
        before = self.before.start(block, self.which[rows])
        return torch.cat([before, self.starts[block][rows]], dim=1)
