"""Progress of long loops: the library is silent, the command line passes a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from typing import Any

from rich.console import Console
from rich.progress import Progress

# Called with a sized iterable and a label; yields the items one by one.
Track = Callable[[Any, str], Iterable[Any]]


def silent(items: Iterable[Any], label: str) -> Iterable[Any]:  # noqa: ARG001 - same shape as a bar
    """No bar."""
    return items


_REMEMBERED = 3600.0  # seconds of the past that the time left is told from; a step may take minutes


def bar(items: Iterable[Any], label: str) -> Iterable[Any]:
    """A bar with the time left on standard error, shown only on a terminal."""
    console = Console(stderr=True)
    total = len(items) if isinstance(items, Sized) else None
    shown = Progress(
        console=console,
        disable=not console.is_terminal,
        transient=True,
        speed_estimate_period=_REMEMBERED,
    )
    with shown:
        yield from shown.track(items, total=total, description=label)
