"""Whose turn it is: a model is used by one thread at a time, and is never copied with its hooks.

A model has one set of hooks, one clock and one set of weights. Two threads that used it at once
would get each other's tokens without an error, and a copy would still run the methods of the
original, past its own hooks.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, update_wrapper
from typing import Any, NoReturn

from torch import nn

from steerscope.errors import ModelBusyError, ModelCopyError


class Turn:
    """The right to use a model: one thread has it, may take it again within, and others wait.

    Whoever has it and does nothing for `patience_s` seconds may be waiting for those who wait for
    it; they are told so and do not wait for ever.

    Attributes:
        patience_s: seconds that others wait for a holder that runs nothing.
    """

    patience_s = 10.0

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._holder: tuple[int, Any] | None = None  # thread, and its task of asyncio if any
        self._depth = self._running = 0
        self._active_at = 0.0

    @contextmanager
    def using(self) -> Iterator[None]:
        """The turn for work that ends by itself, such as a pass; others wait as long as it takes.

        Raises:
            ModelBusyError: another has the turn and is idle.
        """
        with self.holding():
            self._running += 1
            try:
                yield
            finally:
                self._running -= 1

    @contextmanager
    def holding(self) -> Iterator[None]:
        """The turn for a block of somebody's code, such as one under `steer`.

        Raises:
            ModelBusyError: another has the turn and is idle.
        """
        self._take((threading.get_ident(), _task()))
        try:
            yield
        finally:
            self._give_back()

    def _take(self, me: tuple[int, Any]) -> None:
        with self._free:
            while self._holder is not None and not self._is_mine(me):
                self._check_that_it_ends(me)
                self._free.wait(timeout=self.patience_s / 10)
            if self._holder is None:
                self._holder = me
            self._depth += 1
            self._active_at = time.monotonic()

    def _give_back(self) -> None:
        # By whichever thread: a generator that holds a block open may be closed by another.
        with self._free:
            self._depth -= 1
            self._active_at = time.monotonic()
            if not self._depth:
                self._holder = None
                self._free.notify_all()

    def _is_mine(self, me: tuple[int, Any]) -> bool:
        """Whether the holder is this thread, in the same task or before there were tasks."""
        assert self._holder is not None
        return self._holder == me or self._holder == (me[0], None)

    def _check_that_it_ends(self, me: tuple[int, Any]) -> None:
        assert self._holder is not None
        same_thread = self._holder[0] == me[0]
        idle = not self._running and time.monotonic() - self._active_at > self.patience_s
        if same_thread or idle:
            names = {t.ident: t.name for t in threading.enumerate()}
            who = (
                "another task" if same_thread else names.get(self._holder[0], "a thread that ended")
            )
            raise ModelBusyError(
                f"the model is in use: {who} is inside `steer` or another block on it and runs "
                "nothing. One thread uses a model at a time; leave that block first, or load a "
                "model of its own for each thread."
            )


def _task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop in this thread
        return None


def refuse_copy() -> NoReturn:
    """What copying and pickling a model say.

    Raises:
        ModelCopyError: always.
    """
    raise ModelCopyError(
        "a model allows no copying and no pickling: its steering acts on this one alone. Load it again "
        "with load_model(name), in another process as well, and keep its name instead of it."
    )


class InPlaceOf(partial[Any]):
    """A function that stands in for a method of one module, and goes with no copy of it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        refuse_copy()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        refuse_copy()


def keep_alone(module: nn.Module) -> None:
    """Have a module refuse copying and pickling, before its parts are asked."""
    for name in ("__deepcopy__", "__reduce_ex__"):
        object.__setattr__(module, name, lambda _: refuse_copy())


def replace_forward(module: nn.Module, function: Callable[..., Any]) -> None:
    """Have a module run a function of ours as its forward."""
    forward: Callable[..., Any] = module.forward
    stand_in = InPlaceOf(function)
    update_wrapper(stand_in, forward)
    object.__setattr__(module, "forward", stand_in)
