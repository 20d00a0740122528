"""A request from the side of whoever asked: what the worker tells, and what happens if nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request

from steerscope.engine.continuous import LiveRow
from steerscope.models.lens_model import LensModel
from steerscope.serve.conditions import SteeringAsked, read_alias
from steerscope.serve.house import House
from steerscope.serve.worker import Told
from steerscope.serve.writing import Request as Asked
from steerscope.serve.writing import rows_for
from steerscope.steering.interventions import Cell

_LOOKS_S = 0.25  # how often it is seen whether a client that waits is still there
Result = TypeVar("Result")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Begun:
    """What is said of a request once its rows are made.

    Attributes:
        facts: what steerscope adds to the answer.
        n_texts: texts that will be told.
        n_prompt: tokens of all prompts.
    """

    facts: dict[str, Any]
    n_texts: int
    n_prompt: int


class Listener:
    """Hands a request to the worker and hears what it tells.

    Raises:
        UnknownNameError: there is no such model.
        BadValueError: an alias or the stops cannot be read.
        QueueFullError: too many requests wait.
    """

    def __init__(self, house: House, asked: Asked) -> None:
        self._house, self._asked = house, asked
        self._heard: asyncio.Queue[Begun | list[Told] | Exception] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        name, self._steering = read_alias(asked.model, house.rack.names)
        self._limits = (house.limits.tokens, asked.drawn_seed())
        self._ticket = house.worker.write(name, self._rows, self._hear, stops=asked.stops)

    async def begun(self) -> Begun:
        """The beginning.

        Raises:
            Exception: what is wrong with the request.
        """
        first = await self._next()
        assert isinstance(first, Begun)
        return first

    async def news(self, n_texts: int) -> AsyncIterator[list[Told]]:
        """What is told, until all texts are over.

        Raises:
            Exception: what went wrong while they were written.
        """
        n_over = 0
        while n_over < n_texts:
            heard = await self._next()
            assert isinstance(heard, list)
            n_over += sum(bool(told.over) for told in heard)
            yield heard

    def leave(self) -> None:
        """The rows make room, unless they are over."""
        self._house.worker.leave(self._ticket)

    async def _next(self) -> Begun | list[Told]:
        heard = await self._heard.get()
        if isinstance(heard, Exception):
            raise heard
        return heard

    # -- in the thread of the worker --------------------------------------------------------------

    def _rows(self, model: LensModel) -> tuple[Cell, list[LiveRow]]:
        steering: list[SteeringAsked] = self._steering
        cell, rows, facts = rows_for(model, self._house.shelf, self._asked, steering, self._limits)
        self._hear(Begun(facts, len(rows), sum(facts.pop("prompt_tokens"))))
        return cell, rows

    def _hear(self, what: Begun | list[Told] | Exception) -> None:
        with contextlib.suppress(RuntimeError):  # the server is closing, and nobody listens
            self._loop.call_soon_threadsafe(self._heard.put_nowait, what)


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of some work, which is given up if the client leaves.

    Raises:
        ClientGoneError: it has left.
    """
    task = asyncio.ensure_future(work)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=_LOOKS_S)
            if done:
                return task.result()
            if await request.is_disconnected():
                raise ClientGoneError
    finally:
        task.cancel()
