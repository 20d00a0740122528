"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from steerscope.errors import RunError, SteerscopeError


@contextmanager
def whole_file(path: str | Path, refused: type[SteerscopeError] = RunError) -> Iterator[Path]:
    """A name to write to, which becomes `path` once all is written and vanishes if anything fails.

    Raises:
        SteerscopeError: of the class `refused`, if the disk refuses.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise refused(
            f"cannot write {path} ({error.strerror or error}); free some space or choose another "
            "place."
        ) from error
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
