"""A pass over prompts that conditions share as far as they change nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.models.caches import Cache

# Bytes of logits made at once: larger pieces of memory are given back to the system after use, and
# getting them again costs a third of the time of making the logits.
_LOGITS_AT_ONCE = 24 * 2**20

Joined = Callable[[int], None]  # told how many rows are in a pass, whenever more have joined it


def nobody(n_rows: int) -> None:  # noqa: ARG001
    """Where hooks know their rows from the start."""


def passes(blocks: Sequence[int], at_most: int, *, hooked: bool) -> Iterator[slice]:
    """Which rows go through the blocks together, of rows that begin at these blocks, in rising order.

    Args:
        blocks: at which each row begins.
        at_most: rows in one pass.
        hooked: whether more acts on the model than conditions that know their rows. It may keep what it
            sees of all rows at one block for a later one, so that only rows go together that begin together.
    """
    start = 0
    while start < len(blocks):
        end = min(start + at_most, len(blocks))
        if hooked:
            end = min(end, bisect_right(blocks, blocks[start]))
        yield slice(start, end)
        start = end


def unembedded(
    model: Any, residual: Float[Tensor, "row out d"]
) -> Iterator[tuple[Int[Tensor, " part"], Float[Tensor, "part out vocab"]]]:
    """The logits of a few rows at a time, with their numbers, so that all of them never exist at once."""
    width = residual.shape[1] * model.shape.n_vocab * model.dtype.itemsize
    for part in torch.arange(len(residual)).split(max(1, _LOGITS_AT_ONCE // width)):
        yield part, model.unembed(residual[int(part[0]) : int(part[-1]) + 1])


@dataclass(frozen=True, eq=False)
class Alike:
    """Rows of a pass that come out alike as long as their tokens are the same: those of one condition.

    Attributes:
        first: the first row of each condition, in rising order.
        condition: of each row, its place in `first`.
        first_alone: while active, hooks take a pass for one of the first rows alone; what it gives is
            told how many of them are in it.
    """

    first: Int[Tensor, " condition"]
    condition: Int[Tensor, " row"]
    first_alone: Callable[[], AbstractContextManager[Joined]]


class PlainPass:
    """Prompts of one length, to be run under conditions that leave their first blocks as they are.

    This one remembers only the tokens and runs every block of every condition.
    """

    def __init__(self, model: Any, tokens: Int[Tensor, "prompt pos"]) -> None:
        self.model, self.tokens = model, tokens

    @property
    def n_alike(self) -> int:
        """Tokens that all prompts begin with alike, as far as a backbone may run them once."""
        return 0

    @property
    def n_bytes(self) -> int:
        """Bytes of what it remembers."""
        return self.tokens.nbytes

    def first_run(self, block: int) -> int:  # noqa: ARG002 - a backbone may start there
        """The first block that really runs for a condition that changes nothing below `block`."""
        return 0

    def resume(
        self,
        prompts: Int[Tensor, " row"],
        block: int | Sequence[int],  # noqa: ARG002
        *,
        cache: Cache | None = None,
        last: int | None = None,
        alike: Alike | None = None,  # noqa: ARG002
        joined: Joined = nobody,
        states: list[Tensor] | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "row out vocab"]:
        """Logits of rows of these prompts, run from `block` on at the latest; fills an empty cache.

        Each row may have a block of its own, in rising order: the pass goes through the blocks once, and
        rows join it where they begin. What all prompts begin with may run once for all rows that are
        `alike`.

        The hooks at the end of the block before run again as well. `block` = number of blocks gives
        the logits of the plain pass itself. Where a backbone can tell, what the last block gave at every
        position is added to `states`.
        """
        joined(len(prompts))
        return self.model.forward(self.tokens[prompts], cache=cache, last=last)

    def continued(self, prompts: Int[Tensor, " row"], tokens: Int[Tensor, "row new"]) -> PlainPass:
        """A plain pass over rows of these prompts, each with tokens of its own after it.

        A backbone may take what it knows of the prompts from this one.
        """
        return type(self)(self.model, torch.cat([self.tokens[prompts], tokens], dim=1))

    def resume_in_parts(
        self,
        prompts: Int[Tensor, " row"],
        block: int | Sequence[int],
        *,
        last: int,
        alike: Alike | None = None,
        joined: Joined = nobody,
    ) -> Iterator[tuple[Int[Tensor, " part"], Float[Tensor, "part out vocab"]]]:
        """As `resume` without a cache, the logits of a few rows at a time, with their numbers.

        A backbone may make them only as they are taken, so that all logits never exist at once.
        """
        logits = self.resume(prompts, block, last=last, alike=alike, joined=joined)
        yield torch.arange(len(prompts)), logits
