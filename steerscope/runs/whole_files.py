"""Files and folders that appear whole or not at all, on the disk before they have their name."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from steerscope.errors import RunError, SteerscopeError

UNFINISHED_SUFFIX = ".unfinished"  # of what was never finished


@contextmanager
def whole_file(path: str | Path, refused: type[SteerscopeError] = RunError) -> Iterator[Path]:
    """A name to write to, which becomes `path` once all is written and vanishes if anything fails.

    Raises:
        SteerscopeError: of the class `refused`, if the disk refuses.
    """
    path = Path(path)
    unfinished = _aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        _on_disk(unfinished)
        os.replace(unfinished, path)
        _on_disk(path.parent)
    except OSError as error:
        raise _refusal(path, error, refused) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write_whole(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        RunError: the disk refused.
    """
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: object, *, indent: int = 1) -> None:
    """Write JSON that every parser takes whole or not at all; a number that is not finite is null.

    Raises:
        RunError: the disk refused.
    """
    text = json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)
    write_whole(path, text + "\n")


def _finite(content: Any) -> Any:
    """The same with None for each number that is not finite."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


@contextmanager
def whole_folder(path: str | Path, refused: type[SteerscopeError] = RunError) -> Iterator[Path]:
    """A folder to fill, which takes the place of `path` once all is written.

    A folder that was there is moved aside first and deleted last, so that at any moment the old one
    or the new one is whole.

    Raises:
        SteerscopeError: of the class `refused`, if the disk refuses.
    """
    path = Path(path).resolve()  # `.` has no name that anything could lie beside
    unfinished, before = _aside(path), _aside(path)
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        for written in sorted(unfinished.rglob("*"), reverse=True):
            _on_disk(written)
        _on_disk(unfinished)
        if path.exists():
            os.replace(path, before)
        os.replace(unfinished, path)
        _on_disk(path.parent)
        shutil.rmtree(before, ignore_errors=True)
    except OSError as error:
        raise _refusal(path, error, refused) from error
    finally:
        if before.exists() and not path.exists():
            os.replace(before, path)
        shutil.rmtree(unfinished, ignore_errors=True)


def clear_unfinished(folder: Path, names: str = "**/*") -> None:
    """Delete what a killed process left half written.

    Args:
        folder: where to look.
        names: pattern of what is written by us alone, without the ending.
    """
    for path in folder.glob(names + UNFINISHED_SUFFIX):
        with suppress(OSError):
            path.unlink() if path.is_file() else shutil.rmtree(path)


def _aside(path: Path) -> Path:
    """A name beside `path` that no other process has; a long name is cut, so that it fits."""
    return path.with_name(f"{path.name[:180]}.{uuid4().hex[:12]}{UNFINISHED_SUFFIX}")


def _on_disk(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk and not only in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(path: Path, error: OSError, refused: type[SteerscopeError]) -> SteerscopeError:
    return refused(
        f"cannot write {path} ({error.strerror or error}); free some space or choose another place."
    )
