"""The rows of one cached batch, and what decodes them in step with their length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.engine.alike import alike
from steerscope.engine.sampling import Greedy, Sample, Sampler, penalised, rows_at_once
from steerscope.models.caches import Cache, Recompute
from steerscope.models.lens_model import LensModel
from steerscope.models.plain_pass import PlainPass, passes
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Rows
from steerscope.steering.one_batch import attach_cells

_PROMPTS_AT_MOST = 2**28  # bytes of what is kept of prompts, and as many of plain passes over them
_FULL_ENOUGH = 2 / 3  # share of the rows of a batch that must go on, else the others are taken out


@dataclass(eq=False)
class Row:
    """One prompt under one condition, while it is being continued.

    Attributes:
        cell: number of the condition.
        prompt: number of the prompt.
        seen: number of what the model sees of it, the same for the same tokens.
        ids: what it sees.
        key: the prompt itself and the number of the sample, by which all conditions share their random
            numbers.
        n_new: tokens to add at most.
        sampler: how each is chosen.
        until: strings of which the first that is written ends it.
        states: what the last block gave at each step, where that is kept.
    """

    cell: int
    prompt: int
    seen: int
    ids: list[int]
    key: str
    n_new: int
    sampler: Sampler = field(default_factory=Greedy)
    until: tuple[str, ...] = ()
    written: list[int] = field(default_factory=list)
    ended: bool = False
    finite: bool = True
    states: list[Tensor] = field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        """Whether there is another token to write."""
        return self.finite and not self.ended and len(self.written) < self.n_new


def first_of_length(rows: Sequence[Row], length: int) -> list[Row]:
    """The rows at the front that have this many tokens."""
    return list(takewhile(lambda row: len(row.ids) == length, rows))


def histories(rows: Sequence[Row]) -> list[list[int]]:
    """All tokens of rows in one pass; a row that has ended repeats its last, as its cache does."""
    whole = [[*row.ids, *row.written] for row in rows]
    longest = max(map(len, whole))
    return [ids + ids[-1:] * (longest - len(ids)) for ids in whole]


class States(dict[tuple[int, int], Float[Tensor, "_ d"]]):
    """What the last block gave where each token was drawn, by numbers of condition and prompt.

    Their unembedding is the distribution that the tokens were drawn from, so that it need not be
    computed by a second run. Plain passes over prompts are kept as well, up to 256 MiB.

    Attributes:
        prompts: the same at the positions of each prompt as it was seen, of as many rows as fit into
            256 MiB, and where the backbone tells.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prompts: dict[tuple[int, int], Float[Tensor, "_ d"]] = {}
        self._plain: dict[tuple[tuple[int, ...], ...], PlainPass] = {}
        self._bytes = self._plain_bytes = 0

    def of_cells(self, numbers: Sequence[int]) -> States:
        """The same, a condition having another number: `numbers[c]` instead of c."""
        found = States()
        found.update({(numbers[c], p): state for (c, p), state in self.items()})
        found.prompts.update({(numbers[c], p): state for (c, p), state in self.prompts.items()})
        found._plain = self._plain
        found._bytes, found._plain_bytes = self._bytes, self._plain_bytes
        return found

    def see(self, rows: Sequence[Row], residual: Float[Tensor, "row pos d"]) -> None:
        """Keep what the last block gave over the prompts of some rows, while there is room."""
        if self._bytes + residual.nbytes <= _PROMPTS_AT_MOST:
            self._bytes += residual.nbytes
            for row, state in zip(rows, residual, strict=True):
                self.prompts[row.cell, row.prompt] = state

    def plain_pass(self, model: LensModel, tokens: Int[Tensor, "prompt pos"]) -> PlainPass:
        """The plain pass over prompts of one length, run once as long as 256 MiB hold all of them."""
        key = tuple(map(tuple, tokens.tolist()))
        if key not in self._plain:
            found = model.plain_pass(tokens)
            if self._plain_bytes + found.n_bytes > _PROMPTS_AT_MOST:
                return found
            self._plain_bytes += found.n_bytes
            self._plain[key] = found
        return self._plain[key]


def plain_pass(
    model: LensModel, tokens: Int[Tensor, "prompt pos"], kept: States | None
) -> PlainPass:
    """The plain pass over prompts of one length, as it was kept where anything is."""
    return model.plain_pass(tokens) if kept is None else kept.plain_pass(model, tokens)


class Decoder:
    """Decodes groups of rows in step with their length; into `states`, if any, goes what it saw."""

    def __init__(
        self,
        model: LensModel,
        cells: Sequence[Cell],
        use_cache: bool,
        tokens_at_once: int,
        states: States | None = None,
    ) -> None:
        self.tokens_at_once = tokens_at_once
        self.states = states
        self._seen: Float[Tensor, "row d"] | None = None
        self.model, self.cells = model, cells
        self._hooked = True  # until it is known that nothing else acts on the model
        self.use_cache = use_cache and not model.offer.no_cache
        nowhere = torch.empty(0, dtype=torch.long, device=model.device)
        self.rows_of = [Rows(nowhere) for _ in cells]
        self._assigned: list[int] = []  # the condition of each row of the last pass

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Every condition's interventions, each on the rows that `_pass` assigns to it."""
        self._hooked = self.model.is_hooked
        with ExitStack() as stack:
            pairs = list(zip(self.cells, self.rows_of, strict=True))
            stack.enter_context(attach_cells(self.model, pairs))
            if self.states is not None:
                last = Site("resid_post", self.model.shape.n_layers - 1)
                stack.enter_context(self.model.hook(last, self._see))  # after every condition
            yield

    def _see(self, residual: Float[Tensor, "row pos d"]) -> None:
        self._seen = residual[:, -1].clone()

    def run(self, rows: Sequence[Row]) -> None:
        """Continue rows that are sorted by prompt length until each has ended."""
        longest = len(rows[-1].ids) + rows[-1].n_new
        cache = self._new_cache(len(rows), longest)
        waiting = list(rows)
        active: list[Row] = []
        length = 0  # tokens that the cache has seen of every active row
        while waiting or active:
            if active:
                self._pass(active, [[(row.written or row.ids)[-1]] for row in active], cache)
                length += 1
            else:
                length = len(waiting[0].ids)
            joining = first_of_length(waiting, length)
            if joining:
                del waiting[: len(joining)]
                for part in self._parts_by_prompt(joining, length):
                    active += self._first_passes(part, length, cache)
            kept = self._kept(active)
            if len(kept) < len(active):
                active = [active[i] for i in kept]
                cache.keep(torch.tensor(kept, dtype=torch.long, device=self.model.device))
        if self.states is not None:
            # the last was seen without a token where the model ended the text by itself
            for row in rows:
                if row.written:
                    at = (row.cell, row.prompt)
                    self.states[at] = torch.stack(row.states[: len(row.written)])
                row.states.clear()

    def _parts_by_prompt(self, rows: Sequence[Row], length: int) -> Iterator[list[Row]]:
        """The rows of as many prompts as one pass may hold, which are neighbours."""
        at_once = max(1, self.tokens_at_once // length)
        numbers = list(dict.fromkeys(row.seen for row in rows))
        for start in range(0, len(numbers), at_once):
            part = set(numbers[start : start + at_once])
            yield [row for row in rows if row.seen in part]

    def _first_passes(self, rows: Sequence[Row], length: int, cache: Cache) -> list[Row]:
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
                plain_pass(self.model, tokens, self.states)
                if self.use_cache
                else PlainPass(self.model, tokens)
            )
        n_blocks = self.model.shape.n_layers
        first = [plain.first_run(c.first_block(length, n_blocks)) for c in self.cells]
        order = sorted(rows, key=lambda row: first[row.cell])
        begin = [first[row.cell] for row in order]
        at_once = max(1, self.tokens_at_once // length)
        for span in passes(begin, at_once, hooked=self._hooked):
            part, blocks = order[span], begin[span]
            new = self._new_cache(len(part), length)
            which = self._tensor([place[row.seen] for row in part])
            self._assign(part)
            acting = list(zip(self.cells, self.rows_of, strict=True))
            same = None if self._hooked else alike(self.model, acting, len(part))
            joined = partial(self._assign_first, part)
            states: list[Tensor] | None = None if self.states is None else []
            with self.model.clock.hold(length):
                logits = plain.resume(
                    which, blocks, cache=new, last=1, alike=same, joined=joined, states=states
                )
            self._write(part, logits)
            if self.states is not None and states:
                self.states.see(part, states[0])
            cache.join(new)
        return order

    def _kept(self, rows: Sequence[Row]) -> list[int]:
        """The rows that stay in the batch: those that go on, and few that wait among them.

        Rows that end at the front or the back leave at once, which costs nothing; taking rows out of
        the middle copies the cache, so it waits until a third of the batch has ended.
        """
        live = [i for i, row in enumerate(rows) if row.goes_on]
        if not live:
            return []
        span = range(live[0], live[-1] + 1)
        return live if len(live) <= _FULL_ENOUGH * len(span) else list(span)

    def _new_cache(self, n_rows: int, n_tokens: int) -> Cache:
        return self.model.new_cache(n_rows, n_tokens) if self.use_cache else Recompute()

    def _pass(self, rows: Sequence[Row], tokens: list[list[int]], cache: Cache) -> None:
        """Run new tokens of some rows and write down what comes next in each."""
        self._assign(rows)
        clock = self.model.clock
        lengths = self._tensor([len(row.ids) for row in rows])
        with clock.hold(lengths), clock.telling(lambda: self._tensor(histories(rows))):
            logits = self.model.forward(self._tensor(tokens), cache=cache, last=1)
        self._write(rows, logits)

    def _tensor(self, values: list[Any]) -> Int[Tensor, ...]:
        return torch.tensor(values, dtype=torch.long, device=self.model.device)

    def _assign(self, rows: Sequence[Row]) -> None:
        """Tell every condition which rows of the next pass are its own, where that has changed."""
        conditions = [row.cell for row in rows]
        if conditions == self._assigned:
            return
        numbers: list[list[int]] = [[] for _ in self.cells]
        for place, condition in enumerate(conditions):
            numbers[condition].append(place)
        for mine, places in zip(self.rows_of, numbers, strict=True):
            mine.index = self._tensor(places)
        self._assigned = conditions  # last, so that what fails before is done anew

    def _assign_first(self, rows: Sequence[Row], n_rows: int) -> None:
        """Assign the first rows alone, where the others are not in the pass yet."""
        self._assign(rows[:n_rows])

    def _write(self, rows: Sequence[Row], last_logits: Float[Tensor, "row 1 vocab"]) -> None:
        """Choose the next token of each row that goes on and write it down."""
        logits = last_logits[:, -1]
        live = [i for i, row in enumerate(rows) if row.goes_on]
        going = [rows[i] for i in live]
        if self._seen is not None:
            for row, state in zip(going, self._seen[self._tensor(live)], strict=True):
                row.states.append(state)
        if len(live) < len(rows):
            logits = logits[self._tensor(live)]
        finite = torch.isfinite(logits.amax(dim=-1))  # a NaN is its row's maximum
        if not bool(finite.all()):
            going, logits = _finite(going, finite.tolist()), logits[finite]
        if not going:
            return
        chosen = self._chosen(going, logits)
        if min(chosen) < 0:
            there = [i for i, token in enumerate(chosen) if token >= 0]
            going, logits = _finite(going, [t >= 0 for t in chosen]), logits[self._tensor(there)]
            chosen = [chosen[i] for i in there]
        self._note(going, logits, chosen)
        ends = self.model.vocabulary.ends
        for row, token in zip(going, chosen, strict=True):
            row.ended = token in ends
            if not row.ended:
                row.written.append(token)
                row.ended = self._stops(row)

    def _stops(self, row: Row) -> bool:
        """Whether the end of what is written holds a stop string."""
        if not row.until:
            return False
        n = max(len(stop.encode()) for stop in row.until) + 4  # no token is less than a byte
        before, end = row.written[:-n], row.written[-n:]
        said = self.model.text(end, after=[*row.ids, *before])
        return any(stop in said for stop in row.until)

    def _chosen(self, rows: Sequence[Row], logits: Float[Tensor, "row vocab"]) -> list[int]:
        """The next token of each row, as its own sampler draws it; -1 where there is none."""
        found = [-1] * len(rows)
        groups: dict[object, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(_alike(row.sampler), []).append(i)
        at_once = rows_at_once(logits.device, logits.shape[1], len(rows))
        starts = (
            (mine, start) for mine in groups.values() for start in range(0, len(mine), at_once)
        )
        for group, start in starts:
            mine = group[start : start + at_once]
            sampler = rows[mine[0]].sampler
            part = (logits if len(mine) == len(rows) else logits[self._tensor(mine)]).float()
            going = [rows[i] for i in mine]
            penalty = getattr(sampler, "repetition_penalty", 1.0)
            if penalty != 1.0:
                part = penalised(part, [[*r.ids, *r.written] for r in going], penalty)
            drawn = _drawn(sampler, part, going)
            for place, token in zip(mine, drawn.tolist(), strict=True):
                found[place] = token
        return found

    def _note(
        self, rows: Sequence[Row], logits: Float[Tensor, "row vocab"], chosen: Sequence[int]
    ) -> None:
        """What else is kept of the tokens that were chosen; of a grid nothing."""


def _finite(rows: Sequence[Row], finite: Sequence[bool]) -> list[Row]:
    """Mark the rows whose logits are no numbers; the others."""
    for row, is_finite in zip(rows, finite, strict=True):
        row.finite = is_finite
    return [row for row in rows if row.finite]


def _alike(sampler: Sampler) -> object:
    """What is the same for samplers that can choose for each other's rows: all but the seed."""
    return replace(sampler, seed=0) if type(sampler) is Sample else id(sampler)


def _drawn(
    sampler: Sampler, logits: Float[Tensor, "row vocab"], rows: Sequence[Row]
) -> Int[Tensor, " row"]:
    """The next token of rows whose samplers are alike."""
    keys = [f"{row.key}|{len(row.written)}" for row in rows]
    if type(sampler) is not Sample:
        return sampler.choose(logits, keys)
    own = [cast(Sample, row.sampler).label(key) for row, key in zip(rows, keys, strict=True)]
    return sampler.drawn(logits, own)
