"""A batch that rows join as they come and leave as they end, each under a condition of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.engine.decoding import Decoder, Row
from steerscope.engine.generation import generation_plan
from steerscope.models.caches import Cache, Recompute
from steerscope.models.lens_model import LensModel
from steerscope.models.memory import cache_bytes, pass_bytes, room, tokens_in_cache
from steerscope.models.ragged import RaggedCache, without
from steerscope.steering.interventions import Cell, Rows
from steerscope.steering.one_batch import attach_cells

_ROOM_S = 5.0  # that what is known of the memory is used for


@dataclass(eq=False)
class LiveRow(Row):
    """A row of a continuous batch.

    Attributes:
        condition: what acts within the model on this row.
        n_top: of how many likely tokens the log-probabilities are kept beside that of each token.
        log_probs: of each written token, in nats, as the model has it before any sampler.
        tops: the likeliest tokens at each place with their log-probabilities.
        failure: what stopped it, if anything did.
    """

    condition: Cell = field(default_factory=Cell)
    n_top: int = 0
    log_probs: list[float] = field(default_factory=list)
    tops: list[list[tuple[int, float]]] = field(default_factory=list)
    failure: Exception | None = None

    @property
    def goes_on(self) -> bool:
        """Whether there is another token to write."""
        return self.failure is None and super().goes_on

    @property
    def n_tokens(self) -> int:
        """Tokens that the model must have seen to write the last of it."""
        return len(self.ids) + self.n_new


@dataclass(eq=False)
class _Lane:
    """Rows that run in one pass; of equal length unless the cache is ragged."""

    cache: Cache
    rows: list[LiveRow] = field(default_factory=list)

    @property
    def is_ragged(self) -> bool:
        return isinstance(self.cache, RaggedCache)


class ContinuousBatch:
    """Decodes rows that come and go; a row is written as it would be alone.

    Between two steps nothing is attached to the model, so that it may be used otherwise. Rows of
    different lengths run in one pass where the backbone has a cache for it; on others, and under a gate
    that reads keys, those of equal length do.

    Args:
        model: the model.
        max_rows: rows that run at once; others wait for a place.
    """

    def __init__(self, model: LensModel, *, max_rows: int = 64) -> None:
        self.model, self.max_rows = model, max_rows
        self.waiting: list[LiveRow] = []
        self._lanes: list[_Lane] = []
        self._free, self._asked = 0, -math.inf

    @property
    def rows(self) -> list[LiveRow]:
        """Those that run."""
        return [row for lane in self._lanes for row in lane.rows]

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.waiting and not self._lanes

    def add(self, row: LiveRow) -> None:
        """A row that joins at the next step where there is a place.

        Raises:
            MemoryBudgetError: it does not fit into the memory by itself.
            SteerscopeError: what its condition finds wrong with the model.
        """
        if row.n_tokens * cache_bytes(self.model) > self._room() // 8:
            generation_plan(self.model, len(row.ids), row.n_new, 1)
        nowhere = Rows(torch.empty(0, dtype=torch.long, device=self.model.device))
        with attach_cells(self.model, [(row.condition, nowhere)]):
            pass
        self.waiting.append(row)

    def drop(self, row: LiveRow) -> None:
        """A row leaves, whether it has ended or not; one that is not here is left alone."""
        self.waiting = [r for r in self.waiting if r is not row]
        for lane in self._lanes:
            if row in lane.rows:
                self._leave(lane, [row])
        self._lanes = [lane for lane in self._lanes if lane.rows]

    @torch.no_grad()
    def step(self) -> list[LiveRow]:
        """Write the next token of every row, and the first of those that join; the rows that did."""
        before, joining = self.rows, self._joining()
        rows = [*before, *joining]
        if not rows:
            return []
        decoder = _LiveDecoder(self.model, self._number(rows), self._tokens_at_once(joining))
        running = list(self._lanes)
        coming = [(same, self._lane_for(same)) for same in _alike(joining)]
        with self.model.turn.using(), decoder.attached():
            for lane in running:
                _failing(lane.rows, partial(decoder.go_on, lane.rows, lane.cache))
            for same, lane in coming:
                here = list(range(len(lane.rows)))
                _failing(same, partial(self._begin, decoder, same, lane))
                if len(lane.rows) == len(here):  # they failed, and may have left something behind
                    lane.cache.keep(torch.tensor(here, dtype=torch.long, device=self.model.device))
        for lane in self._lanes:
            self._leave(lane, [row for row in lane.rows if not row.goes_on])
        self._lanes = [lane for lane in self._lanes if lane.rows]
        return rows

    def clear(self) -> list[LiveRow]:
        """All rows leave, as after an error in the middle of a step; those that were here."""
        gone = [*self.rows, *self.waiting]
        self._lanes, self.waiting = [], []
        return gone

    def _tokens_at_once(self, joining: Sequence[LiveRow]) -> int:
        """Tokens of one pass over prompts, which may take half of the memory."""
        if not joining:
            return 1
        longest = max(len(row.ids) for row in joining)
        fitting = self._room() // 2 // (2 * cache_bytes(self.model) + pass_bytes(self.model))
        return max(longest, min(tokens_in_cache(self.model), fitting))

    def _joining(self) -> list[LiveRow]:
        """The rows that come in now: those that waited longest, as far as there is memory for them."""
        inside = self.rows
        longest = max((row.n_tokens for row in inside), default=0)
        coming: list[LiveRow] = []
        for row in self.waiting[: max(0, self.max_rows - len(inside))]:
            longest = max(longest, row.n_tokens)
            n_bytes = (len(inside) + len(coming) + 1) * longest * cache_bytes(self.model)
            if (inside or coming) and n_bytes > self._room() // 2:
                break
            coming.append(row)
        del self.waiting[: len(coming)]
        return coming

    def _room(self) -> int:
        """Bytes for work, as of a moment ago: asking is slow and the answer seldom changes."""
        now = time.monotonic()
        if now - self._asked > _ROOM_S:
            self._free, self._asked = room(self.model), now
        return self._free

    def _number(self, rows: Sequence[LiveRow]) -> list[Cell]:
        """The different conditions of the rows, each of which then has the number of its own."""
        numbers: dict[int, int] = {}
        cells: list[Cell] = []
        prompts: dict[tuple[int, ...], int] = {}
        for row in rows:
            if id(row.condition) not in numbers:
                numbers[id(row.condition)] = len(cells)
                cells.append(row.condition)
            row.cell = numbers[id(row.condition)]
            row.seen = prompts.setdefault(tuple(row.ids), len(prompts))
        return cells

    def _begin(self, decoder: _LiveDecoder, rows: Sequence[LiveRow], lane: _Lane) -> None:
        if isinstance(lane.cache, RaggedCache):
            n_tokens = max(row.n_tokens for row in (*lane.rows, *rows))
            lane.cache.reserve(len(lane.rows) + len(rows), n_tokens)
        lane.rows += decoder.begin(rows, lane.cache)

    def _lane_for(self, rows: Sequence[LiveRow]) -> _Lane:
        """The lane that rows of one length join: the ragged one, else one of their own."""
        ragged = None
        if not self.model.offer.no_cache and not any(_reads_keys(r.condition) for r in rows):
            for lane in self._lanes:
                if lane.is_ragged:
                    return lane
            ragged = self.model.new_ragged_cache()
        lane = _Lane(ragged or self._grid_for(rows))
        self._lanes.append(lane)
        return lane

    def _grid_for(self, rows: Sequence[LiveRow]) -> Cache:
        if self.model.offer.no_cache:
            return Recompute()
        return self.model.new_cache(len(rows), max(row.n_tokens for row in rows))

    def _leave(self, lane: _Lane, gone: Sequence[LiveRow]) -> None:
        if not gone:
            return
        order = without(len(lane.rows), [i for i, row in enumerate(lane.rows) if row in gone])
        lane.rows = [lane.rows[i] for i in order]
        lane.cache.keep(torch.tensor(order, dtype=torch.long, device=self.model.device))


class _LiveDecoder(Decoder):
    """One step of rows, each of which knows what is kept of its tokens."""

    def __init__(self, model: LensModel, cells: Sequence[Cell], tokens_at_once: int) -> None:
        super().__init__(model, cells, use_cache=True, tokens_at_once=tokens_at_once)

    def begin(self, rows: Sequence[LiveRow], cache: Cache) -> list[LiveRow]:
        """The first token of rows of one length, which join the cache in the order that is returned."""
        length, joined = len(rows[0].ids), []
        for part in self._parts_by_prompt(rows, length):
            shared = len({row.seen for row in part}) < len(part)
            first = self._first_passes if shared else self._whole_pass
            joined += first(part, length, cache)
        return cast(list[LiveRow], joined)

    def _whole_pass(self, rows: Sequence[Row], length: int, cache: Cache) -> list[Row]:
        """The first pass of rows that share no prompt, each under its condition from the first block."""
        new = self._new_cache(len(rows), length)
        tokens = self._tensor([row.ids for row in rows])
        self._assign(rows)
        with self.model.clock.hold(length), self.model.clock.telling(lambda: tokens):
            logits = self.model.forward(tokens, cache=new, last=1)
        self._write(rows, logits)
        cache.join(new)
        return list(rows)

    def go_on(self, rows: Sequence[LiveRow], cache: Cache) -> None:
        """The next token of the rows of a cache."""
        self._pass(rows, [[row.written[-1]] for row in rows], cache)

    def _chosen(self, rows: Sequence[Row], logits: Float[Tensor, "row vocab"]) -> list[int]:
        """The next token of each row; a choice that fails is that of its own row alone."""
        try:
            return super()._chosen(rows, logits)
        except Exception:  # noqa: BLE001 - whose it is, is found out
            return [self._own_choice(row, logits[i, None]) for i, row in enumerate(rows)]

    def _own_choice(self, row: Row, logits: Float[Tensor, "1 vocab"]) -> int:
        assert isinstance(row, LiveRow)
        found = [-1]
        _failing([row], lambda: found.extend(super(_LiveDecoder, self)._chosen([row], logits)))
        return found[-1]

    def _note(
        self, rows: Sequence[Row], logits: Float[Tensor, "row vocab"], chosen: Sequence[int]
    ) -> None:
        """The log-probability of each token, and of the likeliest where they are asked for."""
        log_probs = torch.log_softmax(logits.float(), dim=-1)
        of_chosen = log_probs.gather(-1, self._tensor(list(chosen))[:, None])[:, 0].tolist()
        for place, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            if token in self.model.vocabulary.ends:
                continue
            assert isinstance(row, LiveRow)
            row.log_probs.append(of_chosen[place])
            if row.n_top:
                best = log_probs[place].topk(min(row.n_top, log_probs.shape[-1]))
                row.tops.append(list(zip(best.indices.tolist(), best.values.tolist(), strict=True)))


def _failing(rows: Sequence[LiveRow], work: Callable[[], None]) -> None:
    """Do the work of some rows; what goes wrong in it is theirs alone."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whoever asked for the row is told
        for row in rows:
            row.failure = error


def _alike(rows: Sequence[LiveRow]) -> Iterator[list[LiveRow]]:
    """Rows that may join together: of one length, and all reading keys or none."""

    def kind(row: LiveRow) -> tuple[int, bool]:
        return len(row.ids), _reads_keys(row.condition)

    for _, same in groupby(sorted(rows, key=kind), key=kind):
        yield list(same)


def _reads_keys(cell: Cell) -> bool:
    return any(getattr(i, "reads_keys", False) for i in cell.interventions)
