"""Progress of long loops: the library is silent, the command line and a quick start pass a bar."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from threading import Event, Thread
from typing import Any

from rich.console import Console
from rich.progress import Progress

# Called with a sized iterable and a label; yields the items one by one.
Track = Callable[[Any, str], Iterable[Any]]

_REMEMBERED = 3600.0  # seconds of the past that the time left is told from; a step may take minutes
_EVERY = 60.0  # seconds between two lines where there is no terminal
_ENOUGH = 0.05  # share that must be done before it tells how long the rest takes
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Results:
    """Results that are counted as they come, each for as many things as it holds.

    Attributes:
        results: they are not there yet.
        total: things in all of them.
        things: what they are, in words.
        size: things in one of them.
    """

    results: Iterable[Any]
    total: int
    things: str
    size: Callable[[Any], int]

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)


def in_steps(track: Track, names: Sequence[str]) -> Track:
    """The same, that says which step of how many it is where a label names one."""

    def told(items: Any, label: str) -> Iterable[Any]:
        here = [n for n, name in enumerate(names, start=1) if name in label.split()]
        return track(items, f"step {here[0]} of {len(names)}: {label}" if here else label)

    return told


def silent(items: Iterable[Any], label: str) -> Iterable[Any]:  # noqa: ARG001 - same shape as a bar
    """No bar."""
    return items


def bar(items: Iterable[Any], label: str) -> Iterable[Any]:
    """How far a loop is, with the time left: a bar on a terminal, a line in a notebook.

    Elsewhere, such as in a job's log, a line a minute. None where the logger `steerscope`
    is set to warnings alone.
    """
    console = Console(stderr=True)
    if logging.getLogger("steerscope").level >= logging.WARNING:
        return items
    if console.is_jupyter:
        return _told(items, label, _in_notebook(), every=1.0)
    if not console.is_terminal:
        return _told(items, label, lambda line: _log.info("%s", line), every=_EVERY)
    return _drawn(items, label, console)


def _drawn(items: Iterable[Any], label: str, console: Console) -> Iterator[Any]:
    shown = Progress(console=console, transient=True, speed_estimate_period=_REMEMBERED)
    with shown:
        if not isinstance(items, Results):
            yield from shown.track(items, total=_total(items), description=label)
            return
        task = shown.add_task(f"{label}, {items.things}", total=items.total)
        for item in items:
            shown.advance(task, items.size(item))
            yield item


def _told(
    items: Iterable[Any], label: str, say: Callable[[str], object], *, every: float
) -> Iterator[Any]:
    """The items, and now and then a line that says how many are done and how long the rest takes.

    Also while an item takes long; while next to nothing is done it says how long that has taken so far.
    """
    total = _total(items)
    things = f" {items.things}" if isinstance(items, Results) else ""
    start = last = came = time.monotonic()
    done = 0

    def line() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < every:
            return
        last = now
        rest = (came - start) * (total / done - 1) - (now - came) if done and total else 0.0
        if total and done >= _ENOUGH * total and (rest > 0 or done >= total):
            more = f", about {duration(max(rest, 0.0))} left"
        else:  # or what is next takes longer than what was
            more = f", {duration(now - start)} so far" if total or not done else ""
        say(f"{label}: {done}{f' of {total}' if total else ''}{things}{more}")

    with _ticking(every, line):
        for item in items:
            if isinstance(items, Results):  # done when it comes
                done, came = done + items.size(item), time.monotonic()
            if done:
                line()
            yield item
            if not isinstance(items, Results):
                done, came = done + 1, time.monotonic()


@contextmanager
def _ticking(every: float, tick: Callable[[], None]) -> Iterator[None]:
    """While active, something is done every so many seconds beside the work."""
    over = Event()

    def ticks() -> None:
        while not over.wait(every):
            tick()

    thread = Thread(target=ticks, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _in_notebook() -> Callable[[str], object]:
    """What writes a line into a cell of a notebook, over the last one."""
    display = import_module("IPython.display")
    handle: Any = None

    def say(line: str) -> None:
        nonlocal handle
        text = display.Pretty(line)
        if handle is None:
            handle = display.display(text, display_id=True)
        else:
            handle.update(text)

    return say


def _total(items: Iterable[Any]) -> int | None:
    return len(items) if isinstance(items, Sized) else None


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
