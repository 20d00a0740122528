"""While a model loads, no library may install packages.

TransformerLens' bridge calls pip where the processor of a multimodal checkpoint needs a package that
is not there; that has replaced torch in a running environment.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import PurePath
from typing import Any

_INSTALLERS = frozenset({"pip", "pip3", "uv", "uvx", "pipx", "conda", "mamba", "easy_install"})
_STARTS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn"})
_guarded = threading.local()


@contextmanager
def no_installs() -> Iterator[None]:
    """While active, this thread starts no installer: whoever tries gets a `PermissionError`."""
    _watch()
    before = getattr(_guarded, "active", False)
    _guarded.active = True
    try:
        yield
    finally:
        _guarded.active = before


@cache
def _watch() -> None:
    sys.addaudithook(_refuse)  # for the life of the process; it acts only while guarded


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _STARTS or not getattr(_guarded, "active", False):
        return
    words = list(_words(arguments))
    if any(PurePath(word).name.lower() in _INSTALLERS for word in words):
        raise PermissionError(
            f"a library tried to install packages while a model loads ({' '.join(words)[:120]}); "
            "install what it needs by hand, or do without."
        )


def _words(value: Any) -> Iterator[str]:
    """The words of a command line, however it was given; not those of an environment."""
    if isinstance(value, str | bytes | os.PathLike):
        yield from os.fsdecode(value).split()
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _words(part)
