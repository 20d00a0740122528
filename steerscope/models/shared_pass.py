"""A pass over prompts by HookedTransformer, of which every condition starts at its own block."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.models.caches import Cache
from steerscope.models.keys_values import GridCache
from steerscope.models.plain_pass import Alike, Joined, PlainPass, nobody, unembedded

if TYPE_CHECKING:
    from steerscope.models.hooked import HookedLensModel

_WORTH = 8  # tokens that all prompts begin with, fewer of which are run with the rest


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

    @property
    def n_bytes(self) -> int:
        """Bytes of the tokens, of what every block starts from, and of the keys and values."""
        return self.tokens.nbytes + sum(start.nbytes for start in self.starts) + self.cache.n_bytes

    def first_run(self, block: int) -> int:
        """The first block that really runs for a condition that changes nothing below `block`."""
        return block

    def continued(self, prompts: Int[Tensor, " row"], tokens: Int[Tensor, "row new"]) -> PlainPass:
        """A plain pass over rows of these prompts and tokens after them; the prompts run no more."""
        model, (n_rows, n_new) = self.model, tokens.shape
        cache = model.new_cache(n_rows, self.tokens.shape[1] + n_new)
        cache.take(self.cache, prompts, range(model.shape.n_layers))
        cache.n_tokens = self.cache.n_tokens
        starts = model.run_and_keep(tokens, cache)
        return ContinuedPass(self, prompts, tokens, starts, cache)

    def start(self, block: int, rows: Int[Tensor, " row"]) -> Float[Tensor, "row pos d"]:
        """What some rows give to the hooks before a block."""
        return self.starts[block][rows]

    def resume(
        self,
        prompts: Int[Tensor, " row"],
        block: int | Sequence[int],
        *,
        cache: Cache | None = None,
        last: int | None = None,
        alike: Alike | None = None,
        joined: Joined = nobody,
        states: list[Tensor] | None = None,
    ) -> Float[Tensor, "row out vocab"]:
        """Logits of rows of these prompts, run from `block` on; fills an empty cache."""
        residual = self._resumed(prompts, block, cache, alike, joined)
        if states is not None:
            states.append(residual)
        return self.model.unembed(residual if last is None else residual[:, -last:])

    def resume_in_parts(
        self,
        prompts: Int[Tensor, " row"],
        block: int | Sequence[int],
        *,
        last: int,
        alike: Alike | None = None,
        joined: Joined = nobody,
    ) -> Iterator[tuple[Int[Tensor, " part"], Float[Tensor, "part out vocab"]]]:
        """As `resume` without a cache, the logits of a few rows at a time, with their numbers."""
        yield from unembedded(
            self.model, self._resumed(prompts, block, None, alike, joined)[:, -last:]
        )

    @cached_property
    def n_alike(self) -> int:
        """Tokens that all prompts begin with alike, which leaves one of each at least."""
        same = (self.tokens == self.tokens[:1]).all(dim=0)
        return min(int(same.cumprod(dim=0).sum()), self.tokens.shape[1] - 1)

    def _resumed(
        self,
        prompts: Int[Tensor, " row"],
        block: int | Sequence[int],
        cache: Cache | None,
        alike: Alike | None,
        joined: Joined,
    ) -> Float[Tensor, "row pos d"]:
        blocks = [block] * len(prompts) if isinstance(block, int) else list(block)
        n, n_blocks = self.n_alike, self.model.shape.n_layers
        few = alike is not None and 2 * len(alike.first) <= len(prompts)
        if alike is None or not few or n < _WORTH or blocks[0] == n_blocks:
            if cache is not None:
                assert isinstance(cache, GridCache)
                self._take_below(cache, prompts, blocks)
            return self._run_part(prompts, blocks, cache, joined, 0)
        leading = prompts[alike.first]
        of_leading = [blocks[row] for row in alike.first.tolist()]
        begun = self.model.new_cache(len(leading), n)
        self._take_below(begun, leading, of_leading, n)
        whole = cache or self.model.new_cache(len(prompts), self.tokens.shape[1])
        assert isinstance(whole, GridCache)
        with self._prompts_end_here():
            with alike.first_alone() as first_joined, self._ends_of(alike.first):
                beginning = self._run_part(leading, of_leading, begun, first_joined, 0, n)
            for later in range(n_blocks):
                there = bisect_right(blocks, later)
                whole.take(begun, alike.condition[:there], range(later, later + 1))
            self._take_below(whole, prompts, blocks)
            whole.n_tokens = n
            rest = self._run_part(prompts, blocks, whole, joined, n)
        return torch.cat([beginning[alike.condition], rest], dim=1)

    def _take_below(
        self,
        cache: GridCache,
        prompts: Int[Tensor, " row"],
        blocks: list[int],
        n_tokens: int | None = None,
    ) -> None:
        """Give a cache the keys and values of every row in the blocks below its own."""
        for block in range(self.model.shape.n_layers):
            there = bisect_right(blocks, block)
            cache.take(self.cache, prompts[there:], range(block, block + 1), n_tokens, first=there)

    def _prompts_end_here(self) -> AbstractContextManager[None]:
        """While active, the prompts end where this pass ends, though it is run in parts."""
        clock = self.model.clock
        return nullcontext() if clock.held else clock.hold(self.tokens.shape[1])

    def _ends_of(self, rows: Int[Tensor, " row"]) -> AbstractContextManager[None]:
        """While active, the pass is over some of the rows, whose prompts end where theirs did."""
        ends = self.model.clock.prompt_length
        return self.model.clock.hold(ends if isinstance(ends, int) else ends[rows])

    def _run_part(
        self,
        prompts: Int[Tensor, " row"],
        blocks: list[int],
        cache: GridCache | None,
        joined: Joined,
        start: int,
        stop: int | None = None,
    ) -> Float[Tensor, "row part d"]:
        """Run the tokens from `start` to `stop` of these prompts, each from its own block on."""
        clock, n_blocks = self.model.clock, self.model.shape.n_layers
        modules: Any = self.model.transformer.blocks
        there = 0  # rows that are in the pass

        def joining(block: int) -> Float[Tensor, "joining part d"]:
            nonlocal there
            before, there = there, bisect_right(blocks, block)
            if cache is not None:
                cache.n_rows = there
            clock.seen = None  # those of fewer rows
            joined(there)
            return self.start(block, prompts[before:there])[:, start:stop]

        def join(block: int, x: Float[Tensor, "row part d"]) -> Float[Tensor, "more part d"]:
            return torch.cat([x, joining(block)])

        first = blocks[0]
        told = clock.telling(lambda: self.tokens[prompts[:there], :stop])
        with self.model.turn.using(), told, ExitStack() as stack:
            for later in sorted({*blocks} - {first}):
                place = modules[later - 1].hook_resid_post
                hook = place.register_forward_pre_hook(
                    lambda _module, inputs, later=later: (join(later, *inputs),)
                )
                stack.callback(hook.remove)
            residual = joining(first)
            clock.begin(start, residual.shape[1])
            if first:
                residual = modules[first - 1].hook_resid_post(residual)
            if first < n_blocks:
                return self.model.run_blocks(residual, cache, first)
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
