"""Decode continuations: many conditions and prompts as the rows of one cached batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.engine.sampling import Greedy, Sampler, check_samples, penalised
from steerscope.errors import BadValueError, NotFiniteError
from steerscope.models.caches import Cache, Recompute
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.models.memory import (
    MemoryPlan,
    cache_bytes,
    fit,
    logits_bytes,
    pass_bytes,
    room,
    tokens_in_cache,
)
from steerscope.models.plain_pass import PlainPass
from steerscope.models.prompts import Prompts, as_prompts
from steerscope.progress import Track, silent
from steerscope.steering.cells import PLAIN, Cells, as_cells
from steerscope.steering.interventions import Cell, Rows, attach_cells
from steerscope.steering.prompting import is_prompting, on_activations, seen_under

_ROWS_AT_ONCE = 1024
_FULL_ENOUGH = 2 / 3  # share of the rows of a batch that must go on, else the others are taken out


@dataclass(frozen=True)
class Continuation:
    """What a model wrote after a prompt.

    Attributes:
        tokens: new token ids, without the end-of-sequence token.
        text: the same as text.
        ended: whether the model ended it by itself, or came to a stop string, which the text holds.
        finite: whether the logits were numbers to the end; if not, the text stops where they were
            not, and means nothing.
    """

    tokens: tuple[int, ...]
    text: str
    ended: bool
    finite: bool = True


@torch.no_grad()
def generate(  # noqa: PLR0913 - each is a choice of its own
    model: LensModel,
    prompts: Prompts,
    cells: Cells = PLAIN,
    *,
    n_new: int,
    sampler: Sampler | None = None,
    batch_size: int | None = None,
    use_cache: bool = True,
    bos: str | None = None,
    samples: int = 1,
    progress: Track = silent,
) -> list[list[Continuation]]:
    """Continue every prompt under every condition; `result[c][p]` is prompt p under cell c.

    With several samples of each prompt, those of prompt p are `result[c][p * samples:][:samples]`.

    A row is one prompt under one condition. Rows run together whenever they are equally long: longer
    ones join when the others have grown, those that end leave. So no row is ever padded.

    Args:
        model: the model; it may be under `steer` already, which then holds for every row.
        prompts: texts or token ids; a text alone is one prompt.
        cells: the conditions, a steering or a direction alone being one; default plain alone.
        n_new: tokens to add at most.
        sampler: default `Greedy()`.
        batch_size: most rows at once; default as many as the memory holds, up to 1,024.
        use_cache: whether keys and values are kept between steps; the tokens are the same.
        bos: how texts begin: `auto`, `always` or `never`; default as the model's do.
        samples: texts for each prompt, each with random numbers of its own.
        progress: shows the loop over groups of rows.

    Raises:
        BadValueError: several samples of a sampler that always says the same.
        PromptTooLongError: a prompt and its continuation do not fit into the context.
        MemoryBudgetError: not one row fits into the memory.
        NotFiniteError: the logits hold a NaN or an infinity; the message names the condition.
    """
    asked, cells = as_prompts(prompts), as_cells(cells)
    if bos is not None:
        asked = [model.tokens(p, bos=bos) for p in asked]
    repeated = [p for p in asked for _ in range(check_samples(samples, sampler))]
    found = attempt(
        model, repeated, cells, n_new=n_new, sampler=sampler, batch_size=batch_size,
        use_cache=use_cache, numbers=[i % samples for i in range(len(repeated))],
        progress=progress,
    )  # fmt: skip
    broken = [c for c, row in zip(cells, found, strict=True) if not all(r.finite for r in row)]
    if broken:
        others = f" and {len(broken) - 1} others" if len(broken) > 1 else ""
        raise NotFiniteError(
            f"the logits of {model.name} hold a NaN or an infinity under the condition "
            f"{broken[0].key}{others}; lower the dose, use a wider number format, or check the "
            "weights."
        )
    return found


@torch.no_grad()
def attempt(  # noqa: PLR0913 - each is a choice of its own
    model: LensModel,
    prompts: Sequence[TextOrIds],
    cells: Sequence[Cell] = (Cell(),),
    *,
    n_new: int,
    sampler: Sampler | None = None,
    batch_size: int | None = None,
    use_cache: bool = True,
    numbers: Sequence[int] | None = None,
    until: Sequence[str] = (),
    progress: Track = silent,
) -> list[list[Continuation]]:
    """`generate`, but where logits are no numbers the row ends, marked as not finite: for sweeps.

    A prompt may stand several times among the prompts; `numbers` then tells its samples apart, each
    with random numbers of its own. A row ends as soon as its text holds one of the strings `until`.

    Raises:
        PromptTooLongError: a prompt and its continuation do not fit into the context.
        MemoryBudgetError: not one row fits into the memory.
    """
    if n_new < 1:
        raise BadValueError(f"n_new is {n_new}; ask for at least 1 token.")
    rows = _rows_of(model, prompts, cells, n_new, numbers or [0] * len(prompts))
    longest = max((len(row.ids) for row in rows), default=0)
    plan, tokens_at_once = generation_plan(model, longest, n_new, batch_size or _ROWS_AT_ONCE)
    acting = [on_activations(cell) for cell in cells]
    decoder = _Decoder(model, acting, n_new, sampler or Greedy(), use_cache, tokens_at_once)
    decoder.until = tuple(until)
    groups = [rows[start : start + plan.rows] for start in range(0, len(rows), plan.rows)]
    with model.turn.using(), decoder.attached():
        for group in progress(groups, "generating"):
            decoder.run(group)
    results: list[list[Continuation]] = [[] for _ in cells]
    for row in sorted(rows, key=lambda r: (r.cell, r.prompt)):
        results[row.cell].append(
            Continuation(
                tuple(row.written),
                model.text(row.written, after=row.ids),
                row.ended,
                row.finite,
            )
        )
    return results


def generation_plan(
    model: LensModel, prompt_tokens: int, n_new: int, batch_size: int = _ROWS_AT_ONCE
) -> tuple[MemoryPlan, int]:
    """Memory for continuing prompts of at most so many tokens, and prompt tokens in one pass.

    Shared by all rows is one pass over prompts, which gets at most half of the memory; a row costs
    its keys and values, one token's activations and its logits.

    Raises:
        MemoryBudgetError: not one row fits.
    """
    # a prompt passes twice: plain, with the input of every block kept, and under its condition
    token = 2 * cache_bytes(model) + pass_bytes(model)
    token += model.shape.n_layers * model.shape.d_model * model.dtype.itemsize
    tokens = max(prompt_tokens, min(tokens_in_cache(model), room(model) // 2 // token))
    row = (prompt_tokens + n_new) * cache_bytes(model) + pass_bytes(model) + logits_bytes(model)
    work = f"a continuation of {n_new} tokens after {prompt_tokens}"
    return fit(model, work, shared=tokens * token, row=row, at_most=batch_size), tokens


@dataclass(eq=False)
class _Row:
    """One prompt under one condition, while it is being continued.

    Attributes:
        cell: number of the condition.
        prompt: number of the prompt.
        seen: number of what the model sees of it, the same for the same tokens.
        ids: what it sees.
        key: the prompt itself and the number of the sample, by which all conditions share their random
            numbers.
    """

    cell: int
    prompt: int
    seen: int
    ids: list[int]
    key: str
    written: list[int] = field(default_factory=list)
    ended: bool = False
    finite: bool = True


def _rows_of(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    cells: Sequence[Cell],
    n_new: int,
    numbers: Sequence[int],
) -> list[_Row]:
    """Every prompt as it is seen under every condition, the shortest first.

    The first of several samples has the key of a single one, so that it is the same text.
    """
    known: dict[tuple[int, ...], int] = {}
    rows = []
    for p, prompt in enumerate(prompts):
        ids = model.tokens(prompt, room=n_new)
        key = ",".join(map(str, ids)) + (f"#{numbers[p]}" if numbers[p] else "")
        for c, cell in enumerate(cells):
            seen = ids
            if is_prompting(cell):
                seen = model.tokens(seen_under(cell, prompt), room=n_new)
            number = known.setdefault(tuple(seen), len(known))
            rows.append(_Row(c, p, number, seen, key))
    return sorted(rows, key=lambda row: (len(row.ids), row.seen))


def _first_of_length(rows: Sequence[_Row], length: int) -> list[_Row]:
    """The rows at the front that have this many tokens."""
    return list(takewhile(lambda row: len(row.ids) == length, rows))


def _histories(rows: Sequence[_Row]) -> list[list[int]]:
    """All tokens of rows in one pass; a row that has ended repeats its last, as its cache does."""
    whole = [[*row.ids, *row.written] for row in rows]
    longest = max(map(len, whole))
    return [ids + ids[-1:] * (longest - len(ids)) for ids in whole]


class _Decoder:
    """Decodes groups of rows in step with their length."""

    def __init__(
        self,
        model: LensModel,
        cells: Sequence[Cell],
        n_new: int,
        sampler: Sampler,
        use_cache: bool,
        tokens_at_once: int,
    ) -> None:
        self.tokens_at_once = tokens_at_once
        self.until: tuple[str, ...] = ()
        self.model, self.cells, self.n_new = model, cells, n_new
        self.sampler, self.use_cache = sampler, use_cache and not model.offer.no_cache
        nowhere = torch.empty(0, dtype=torch.long, device=model.device)
        self.rows_of = [Rows(nowhere) for _ in cells]

    def attached(self) -> AbstractContextManager[None]:
        """Every condition's interventions, each on the rows that `_pass` assigns to it."""
        return attach_cells(self.model, list(zip(self.cells, self.rows_of, strict=True)))

    def run(self, rows: Sequence[_Row]) -> None:
        """Continue rows that are sorted by prompt length until each has ended."""
        longest = len(rows[-1].ids) + self.n_new
        cache = self._new_cache(len(rows), longest)
        waiting = list(rows)
        active: list[_Row] = []
        length = 0  # tokens that the cache has seen of every active row
        while waiting or active:
            if active:
                self._pass(active, [[(row.written or row.ids)[-1]] for row in active], cache)
                length += 1
            else:
                length = len(waiting[0].ids)
            joining = _first_of_length(waiting, length)
            if joining:
                del waiting[: len(joining)]
                for part in self._parts_by_prompt(joining, length):
                    active += self._first_passes(part, length, cache)
            kept = self._kept(active)
            if len(kept) < len(active):
                active = [active[i] for i in kept]
                cache.keep(torch.tensor(kept, dtype=torch.long, device=self.model.device))

    def _parts_by_prompt(self, rows: Sequence[_Row], length: int) -> Iterator[list[_Row]]:
        """The rows of as many prompts as one pass may hold, which are neighbours."""
        at_once = max(1, self.tokens_at_once // length)
        numbers = list(dict.fromkeys(row.seen for row in rows))
        for start in range(0, len(numbers), at_once):
            part = set(numbers[start : start + at_once])
            yield [row for row in rows if row.seen in part]

    def _first_passes(self, rows: Sequence[_Row], length: int, cache: Cache) -> list[_Row]:
        """Run prompts of one length and join them to the cache; the rows in their order there.

        A plain pass over the different prompts comes first; every row then runs only the blocks
        from the first that its condition changes.
        """
        prompts = list({row.seen: row.ids for row in rows}.items())
        place = {number: i for i, (number, _) in enumerate(prompts)}
        tokens = self._tensor([ids for _, ids in prompts])
        self._assign([])
        with self.model.clock.hold(length):
            plain = (
                self.model.plain_pass(tokens) if self.use_cache else PlainPass(self.model, tokens)
            )
        n_blocks = self.model.shape.n_layers
        by_block: dict[int, list[_Row]] = {}
        for row in rows:
            block = plain.first_run(self.cells[row.cell].first_block(length, n_blocks))
            by_block.setdefault(block, []).append(row)
        joined: list[_Row] = []
        at_once = max(1, self.tokens_at_once // length)
        for block, mine in sorted(by_block.items()):
            for start in range(0, len(mine), at_once):
                part = mine[start : start + at_once]
                new = self._new_cache(len(part), length)
                which = self._tensor([place[row.seen] for row in part])
                self._assign(part)
                with self.model.clock.hold(length):
                    logits = plain.resume(which, block, cache=new, last=1)
                self._write(part, logits)
                cache.join(new)
                joined += part
        return joined

    def _kept(self, rows: Sequence[_Row]) -> list[int]:
        """The rows that stay in the batch: those that go on, and few that wait among them.

        Rows that end at the front or the back leave at once, which costs nothing; taking rows out of
        the middle copies the cache, so it waits until a third of the batch has ended.
        """
        live = [i for i, row in enumerate(rows) if self._goes_on(row)]
        if not live:
            return []
        span = range(live[0], live[-1] + 1)
        return live if len(live) <= _FULL_ENOUGH * len(span) else list(span)

    def _goes_on(self, row: _Row) -> bool:
        return row.finite and not row.ended and len(row.written) < self.n_new

    def _new_cache(self, n_rows: int, n_tokens: int) -> Cache:
        return self.model.new_cache(n_rows, n_tokens) if self.use_cache else Recompute()

    def _pass(self, rows: Sequence[_Row], tokens: list[list[int]], cache: Cache) -> None:
        """Run new tokens of some rows and write down what comes next in each."""
        self._assign(rows)
        clock = self.model.clock
        lengths = self._tensor([len(row.ids) for row in rows])
        with clock.hold(lengths), clock.telling(lambda: self._tensor(_histories(rows))):
            logits = self.model.forward(self._tensor(tokens), cache=cache, last=1)
        self._write(rows, logits)

    def _tensor(self, values: list[Any]) -> Int[Tensor, ...]:
        return torch.tensor(values, dtype=torch.long, device=self.model.device)

    def _assign(self, rows: Sequence[_Row]) -> None:
        """Tell every condition which rows of the next pass are its own."""
        numbers: list[list[int]] = [[] for _ in self.cells]
        for place, row in enumerate(rows):
            numbers[row.cell].append(place)
        for mine, places in zip(self.rows_of, numbers, strict=True):
            mine.index = self._tensor(places)

    def _write(self, rows: Sequence[_Row], last_logits: Float[Tensor, "row 1 vocab"]) -> None:
        """Choose the next token of each row that goes on and write it down."""
        logits = last_logits[:, -1].float()
        live = [i for i, row in enumerate(rows) if self._goes_on(row)]
        going = [rows[i] for i in live]
        if len(live) < len(rows):
            logits = logits[self._tensor(live)]
        finite = torch.isfinite(logits.amax(dim=-1))  # a NaN is its row's maximum
        if not bool(finite.all()):
            for row, is_finite in zip(going, finite.tolist(), strict=True):
                row.finite = is_finite
            going = [row for row in going if row.finite]
            logits = logits[finite]
        if not going:
            return
        penalty = getattr(self.sampler, "repetition_penalty", 1.0)
        if penalty != 1.0:
            logits = penalised(logits, [[*r.ids, *r.written] for r in going], penalty)
        chosen = self.sampler.choose(logits, [f"{r.key}|{len(r.written)}" for r in going]).tolist()
        for row, token in zip(going, chosen, strict=True):
            row.ended = token in self.model.vocabulary.ends
            if not row.ended:
                row.written.append(token)
                row.ended = self._stops(row)

    def _stops(self, row: _Row) -> bool:
        """Whether the end of what is written holds a stop string."""
        if not self.until:
            return False
        n = max(len(stop.encode()) for stop in self.until) + 4  # no token is less than a byte
        before, end = row.written[:-n], row.written[-n:]
        said = self.model.text(end, after=[*row.ids, *before])
        return any(stop in said for stop in self.until)
