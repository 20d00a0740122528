"""One place, one owner: a lock that only one process, and in it one thread, holds at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from filelock import FileLock, Timeout

from steerscope.errors import BusyError, RunError
from steerscope.runs.whole_files import clear_unfinished

LOCK = ".lock"  # in a folder that is owned; it stays there and says nothing


class _Held(threading.local):
    """The locks that this thread holds, by process and place, and how often each was asked for."""

    def __init__(self) -> None:
        self.locks: dict[tuple[int, Path], FileLock] = {}
        self.depths: dict[tuple[int, Path], int] = {}


_held = _Held()


@contextmanager
def owned(folder: str | Path, *, ours: bool = False) -> Iterator[None]:
    """Hold a folder, from the moment that it is known to be ours until the outermost block ends.

    A measurement asks for its folder before anything is loaded, when the folder may not be there
    yet, and again once it has been checked and made.

    Args:
        folder: to be written by this thread alone.
        ours: it was checked, so that a lock may be put into it; else only one that is there is
            taken.

    Raises:
        BusyError: another process or thread holds it.
        RunError: the disk refused.
    """
    with _holding(Path(folder).resolve() / LOCK, wanted=ours, shown=Path(folder)):
        yield


def owns(folder: str | Path) -> bool:
    """Whether this thread holds a folder now."""
    return (os.getpid(), Path(folder).resolve() / LOCK) in _held.locks


@contextmanager
def owned_file(path: str | Path) -> Iterator[None]:
    """Hold a file that is to be written, by a lock beside it that is gone in the end.

    Raises:
        BusyError: another process or thread holds it.
        RunError: the disk refused.
    """
    path = Path(path)
    lock = path.resolve().with_name(f".{path.name[:200]}{LOCK}")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {path} ({error.strerror}); choose another place.") from None
    with _holding(lock, wanted=True, shown=path):
        clear_unfinished(path.parent, f"{escape(path.name[:180])}.*")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def _holding(lock: Path, *, wanted: bool, shown: Path) -> Iterator[None]:
    key = (os.getpid(), lock)
    _held.depths[key] = _held.depths.get(key, 0) + 1
    try:
        if key not in _held.locks and (wanted or lock.is_file()):
            _held.locks[key] = _acquired(lock, shown)
        yield
    finally:
        _held.depths[key] -= 1
        if not _held.depths[key]:
            del _held.depths[key]
            if key in _held.locks:
                _held.locks.pop(key).release()


def _acquired(path: Path, shown: Path) -> FileLock:
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BusyError(
            f"{shown} is being written by another process; wait until it has ended, or stop it, and "
            "give the command again."
        ) from None
    except (OSError, NotImplementedError) as error:
        raise RunError(
            f"cannot lock {shown} ({getattr(error, 'strerror', None) or error}); choose another place."
        ) from None
    return lock
