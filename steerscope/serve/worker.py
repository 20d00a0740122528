"""The one thread that uses the models: it writes the rows of all requests, and does other work between."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from steerscope.engine.continuous import ContinuousBatch, LiveRow
from steerscope.engine.streaming import Reader, check
from steerscope.errors import QueueFullError
from steerscope.models.lens_model import LensModel
from steerscope.serve.rack import Rack
from steerscope.serve.stops import Stops
from steerscope.steering.interventions import Cell

_PATIENCE_S = 5.0
Result = TypeVar("Result")
_log = logging.getLogger("steerscope.serve")


@dataclass(frozen=True)
class Word:
    """A token that was or might have been written.

    Attributes:
        label: how it reads.
        log_prob: in nats.
        spelled: its bytes in UTF-8, which may be a part of a letter.
    """

    label: str
    log_prob: float
    spelled: bytes

    @classmethod
    def of(cls, model: LensModel, token: int, log_prob: float) -> Word:
        """A token of a model."""
        vocabulary = model.vocabulary
        return cls(vocabulary.label(token), log_prob, vocabulary.spelled(token))


@dataclass(frozen=True)
class Piece:
    """One token.

    Attributes:
        id: the token.
        word: the token as it reads.
        tops: the likeliest tokens in its place, where they were asked for.
    """

    id: int
    word: Word
    tops: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Told:
    """What a text has got since the last time.

    Attributes:
        text: number of the text in its request.
        pieces: new tokens.
        words: what may be told of them; a letter or a stop may need more tokens to be known.
        over: whether the text is over: `stop` by the model or by a stop, `length`; empty while it goes
            on.
    """

    text: int
    pieces: tuple[Piece, ...]
    words: str
    over: str = ""


@dataclass(eq=False)
class Ticket:
    """A request that is being written.

    Attributes:
        tell: takes what is new, or the error that ended it; called in the thread of the worker.
        rows: its texts.
        readers: read each of them.
        stops: end each of them.
        cell: its condition.
    """

    tell: Callable[[list[Told] | Exception], None]
    rows: list[LiveRow] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    stops: list[Stops] = field(default_factory=list)
    cell: Cell = field(default_factory=Cell)
    is_over: bool = False


@dataclass(frozen=True, eq=False)
class _Job:
    """Work on a model that waits for its turn."""

    model: str
    work: Callable[[ContinuousBatch], None]
    fail: Callable[[Exception], None]
    since: float = field(default_factory=time.monotonic)


class Worker:
    """Runs models in a thread of its own.

    Requests for a model that is not in memory wait until there is room. Those for models that are there
    go before them, so that models are not changed at every request; but whoever has waited for some
    seconds comes next, so that nobody waits for ever.

    Args:
        rack: the models.
        max_waiting: requests that wait, at most.
    """

    def __init__(self, rack: Rack, *, max_waiting: int = 256) -> None:
        self.rack, self.max_waiting = rack, max_waiting
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._jobs: deque[_Job] = deque()
        self._tickets: list[tuple[ContinuousBatch, Ticket]] = []
        self.n_open = 0  # requests that are answered or wait
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="steerscope-models", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the step in progress."""
        self._calls.put(None)
        self._thread.join(timeout=30)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    @property
    def n_rows(self) -> int:
        """Texts that are being written or wait for a place."""
        return sum(len(b.rows) + len(b.waiting) for b in list(self.rack.batches.values()))

    def do(self, model: str, work: Callable[[LensModel], Result]) -> Future[Result]:
        """Something done with a model between two steps.

        Raises:
            UnknownNameError: there is no such model.
            QueueFullError: too many requests wait.
        """
        done: Future[Result] = Future()

        def run(batch: ContinuousBatch) -> None:
            if done.set_running_or_notify_cancel():
                done.set_result(work(batch.model))
            self._count(-1)

        def fail(error: Exception) -> None:
            # whoever has given up waiting is told nothing
            if done.running() or done.set_running_or_notify_cancel():
                done.set_exception(error)
            self._count(-1)

        self._submit(model, run, fail)
        return done

    def write(
        self,
        model: str,
        make: Callable[[LensModel], tuple[Cell, list[LiveRow]]],
        tell: Callable[[list[Told] | Exception], None],
        *,
        stops: Sequence[str] = (),
    ) -> Ticket:
        """Write texts, which are made of a request once its model is there.

        Args:
            model: by name.
            make: the condition and the rows.
            tell: takes what is new, in the thread of the worker.
            stops: texts that end a text.

        Raises:
            UnknownNameError: there is no such model.
            QueueFullError: too many requests wait.
        """
        ticket = Ticket(tell)

        def begin(batch: ContinuousBatch) -> None:
            if ticket.is_over:
                return
            ticket.cell, ticket.rows = make(batch.model)
            ticket.readers = [Reader(batch.model, row) for row in ticket.rows]
            ticket.stops = [Stops(stops) for _ in ticket.rows]
            for row in ticket.rows:
                batch.add(row)
            self._tickets.append((batch, ticket))

        self._submit(model, begin, partial(self._end, None, ticket))
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Nobody listens any more: the rows of a request make room."""
        self._calls.put(partial(self._drop, ticket))

    # -- in the thread of the worker --------------------------------------------------------------

    def _submit(
        self, model: str, work: Callable[[ContinuousBatch], None], fail: Callable[[Exception], None]
    ) -> None:
        self.rack.check(model)
        with self._lock:
            if self.n_open >= self.max_waiting:
                raise QueueFullError(
                    f"{self.n_open} requests are being answered or wait, and no more are taken; ask "
                    "again in a moment."
                )
            self.n_open += 1
        self._calls.put(partial(self._jobs.append, _Job(model, work, fail)))

    def _count(self, change: int) -> None:
        with self._lock:
            self.n_open += change

    def _run(self) -> None:
        while True:
            idle = all(batch.is_idle for batch in self.rack.batches.values()) and not self._jobs
            while idle or not self._calls.empty():
                call = self._calls.get()
                if call is None:
                    return
                call()
                idle = False
            self._begin_jobs()
            for batch in list(self.rack.batches.values()):
                if not batch.is_idle:
                    self._step(batch)

    def _begin_jobs(self) -> None:
        """Begin the work that waits, as long as there is room."""
        while self._jobs:
            job = self._next_job()
            try:
                batch = self.rack.batch(job.model)
                if batch is None:
                    return
                self._jobs.remove(job)
                job.work(batch)
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                if job in self._jobs:
                    self._jobs.remove(job)
                job.fail(error)

    def _next_job(self) -> _Job:
        """The oldest for a model that is in memory, unless the oldest of all has waited long."""
        oldest = self._jobs[0]
        if time.monotonic() - oldest.since > _PATIENCE_S:
            return oldest
        there = (job for job in self._jobs if job.model in self.rack.batches)
        return next(there, oldest)

    def _step(self, batch: ContinuousBatch) -> None:
        try:
            batch.step()
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            _log.exception("a step of %s failed", batch.model.name)
            batch.clear()
            for mine, ticket in list(self._tickets):
                if mine is batch:
                    self._end(batch, ticket, error)
            return
        for mine, ticket in list(self._tickets):
            if mine is batch:
                self._tell(batch, ticket)

    def _tell(self, batch: ContinuousBatch, ticket: Ticket) -> None:
        """Say what is new in the texts of a request."""
        news = []
        texts = zip(ticket.rows, ticket.readers, ticket.stops, strict=True)
        for number, (row, reader, stops) in enumerate(texts):
            try:
                check(row, batch.model, ticket.cell)
                if not reader.is_over:
                    told = _news(batch.model, number, row, (reader, stops))
                    news += [told] if told.pieces or told.over else []
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                self._end(batch, ticket, error)
                return
            if stops.hit:
                batch.drop(row)
        if news:
            ticket.tell(news)
        if all(reader.is_over for reader in ticket.readers):
            self._forget(ticket)

    def _drop(self, ticket: Ticket) -> None:
        for batch, mine in self._tickets:
            if mine is ticket:
                for row in ticket.rows:
                    batch.drop(row)
        self._forget(ticket)

    def _end(self, batch: ContinuousBatch | None, ticket: Ticket, error: Exception) -> None:
        for held in self.rack.batches.values() if batch is None else [batch]:
            for row in ticket.rows:
                held.drop(row)
        if not ticket.is_over:
            ticket.tell(error)
        self._forget(ticket)

    def _forget(self, ticket: Ticket) -> None:
        self._tickets = [pair for pair in self._tickets if pair[1] is not ticket]
        if not ticket.is_over:
            ticket.is_over = True
            self._count(-1)


def _news(model: LensModel, number: int, row: LiveRow, reading: tuple[Reader, Stops]) -> Told:
    """What a row has written since it was read last."""
    reader, stops = reading
    first = reader.n_read
    said = list(reader.news())
    words = stops.take("".join(text for _, text in said))
    if stops.hit or not row.goes_on:
        reader.is_over = True
        words += stops.take(reader.rest(), last=True)
    over = "stop" if stops.hit or row.ended else "length"
    pieces = [
        Piece(
            token,
            Word.of(model, token, row.log_probs[place]),
            tuple(Word.of(model, t, p) for t, p in row.tops[place]) if row.n_top else (),
        )
        for place, (token, _) in enumerate(said, first)
    ]
    return Told(number, tuple(pieces), words, over if reader.is_over else "")
