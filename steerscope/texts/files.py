"""Text files of the user's: read whole, in UTF-8, and JSON in them that cannot exhaust the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LARGEST = 2**30  # bytes of a text file that is read at once


def read_text(path: Path, refused: type[Exception]) -> str:
    """The text of a file.

    Raises:
        Exception: of the class `refused`: no file that may be read, too large, or not UTF-8.
    """
    try:
        if not path.is_file():
            raise refused(f"{path} is no file; give a text file.")
        if path.stat().st_size > _LARGEST:
            raise refused(f"{path} has more than {_LARGEST // 2**20:,} MiB; give a smaller file.")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(f"{path} is not UTF-8 text ({error}); save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        raise refused(f"cannot read {path} ({error}).") from None


def parse_json(text: str | bytes, where: str, refused: type[Exception]) -> Any:
    """What JSON says; no name twice in an object, no NaN, and nothing nested beyond the reader.

    Raises:
        Exception: of the class `refused`: it is no such JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise refused(f"{where}: not JSON ({error.msg}).") from None
    except RecursionError:
        raise refused(f"{where}: brackets are nested too deep to be read.") from None
    except ValueError as error:  # a number too long, bytes that are no text, or ours
        raise refused(f"{where}: {error}.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"the key {twice!r} is there twice; keep one")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; give a number or leave it out")
