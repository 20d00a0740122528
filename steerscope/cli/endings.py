"""How a command ends: its result as strict JSON, its exit code, and one line about an error.

0 is done, 1 a fault of ours with its traceback, 2 what the user can mend, 130 stopped by Ctrl-C.
With `--json`, what is said on standard error is JSON as well, one object a line.
"""

from __future__ import annotations

import json
import math
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from steerscope.errors import BadValueError, SteerscopeError
from steerscope.texts.one_line import one_line

DONE, FAULT, MENDABLE, STOPPED = 0, 1, 2, 130
_NO_MEMORY = re.compile("(not enough|out of) memory")  # as torch says it


def strict_json(result: object) -> str:
    """A result as JSON that every parser takes: NaN is null, an infinity the text `inf` or `-inf`."""
    return json.dumps(_plain(result), allow_nan=False)


def _plain(value: Any) -> Any:
    """The same in the types of JSON; a number of numpy is a number, a path is its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # an array, or one number of numpy or torch
        return _plain(value.tolist())
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(value) if math.isinf(value) else value
    return value if isinstance(value, str | int | bool | None) else str(value)


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse what no command can use: bytes that are not UTF-8, and the null character.

    Raises:
        BadValueError: an argument holds either.
    """
    for number, text in enumerate(arguments, 1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadValueError(
                f"argument {number}, {text!r}, is not UTF-8; write or rename it in UTF-8."
            ) from None
        if "\0" in text:
            raise BadValueError(f"argument {number}, {text!r}, holds a null character.")


class Ending:
    """Says how a command went on standard error, as a sentence or as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def aside(self, text: str, *, before: str = "") -> None:
        """One line beside the result."""
        self._say({"note": one_line(text)}, before + one_line(text))

    def stopped(self) -> int:
        """The code for Ctrl-C."""
        said = "stopped; what is written is whole, and the same command goes on from it."
        self._say({"stopped": said}, said)
        return STOPPED

    def failed(self, error: Exception) -> int:
        """The code for an error: what the user can mend gets one line, a fault of ours a traceback."""
        message = _in_words(error)
        if message is not None:
            kind = type(error).__name__
            self._say({"error": kind, "message": message}, f"error: {message}")
            return MENDABLE
        trace = "".join(traceback.format_exception(error))
        about = {"error": type(error).__name__, "message": one_line(str(error))}
        self._say(about | {"traceback": trace}, trace.rstrip("\n"))
        return FAULT

    def _say(self, as_object: dict[str, str], as_text: str) -> None:
        line = strict_json(as_object) if self.as_json else as_text
        sys.stderr.write(line + "\n")


def _in_words(error: Exception) -> str | None:
    """What the user can mend, in one line; None for a fault of ours."""
    if isinstance(error, SteerscopeError):
        return one_line(str(error))
    if isinstance(error, OSError) and error.strerror:
        places = [str(p) for p in (error.filename, error.filename2) if p is not None]
        where = f" ({' to '.join(places)})" if places else ""
        return one_line(
            f"the system says {error.strerror.lower()!r}{where}; check the path, its rights and the "
            "room that is left."
        )
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return "there is not enough memory; ask for less at once, or set --memory."
    # typer may carry its own click, whose error classes it does not export
    say = getattr(error, "format_message", None)
    return None if say is None else one_line(say())
