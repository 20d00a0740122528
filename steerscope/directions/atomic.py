"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from steerscope.errors import VectorFileError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` once all is written and vanishes if anything fails.

    Raises:
        VectorFileError: the disk refused.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise VectorFileError(
            f"cannot write {path} ({error.strerror or error}); free some space or choose another "
            "place."
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
