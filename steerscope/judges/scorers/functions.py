"""A function of the user's own as a judge."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from steerscope.errors import JudgeError, reason
from steerscope.models.chat_templates import asked_in
from steerscope.runs.seals import file_sha256


@dataclass(frozen=True)
class UserFunction:
    """What `module:function` returns for each text: a number, or None where it cannot tell.

    The function takes the text, or the prompt and the text if it takes two arguments by position. In a
    chat the prompt is what the user said last, without the template.
    """

    place: str
    threshold: float | None = None

    @property
    def words(self) -> str:
        """What the score is."""
        return f"what {self.place} returns"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        """The number of each text.

        Raises:
            JudgeError: the function cannot be found, raises, or returns no number.
        """
        function, takes_prompt = find_function(self.place)
        return [
            self._number(function, (asked_in(prompt), text) if takes_prompt else (text,))
            for prompt, text in zip(prompts, texts, strict=True)
        ]

    def _number(self, function: Callable[..., Any], arguments: tuple[str, ...]) -> float:
        shown = f"{arguments[-1][:40]!r}"
        try:
            with redirect_stdout(sys.stderr):  # what is printed there is read by programs
                found = function(*arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it may raise anything
            raise JudgeError(f"{self.place} raised on {shown} ({_said(error)}).") from None
        if found is None:
            return math.nan
        try:
            number = math.inf if isinstance(found, str | bytes) else float(found)
        except Exception:  # noqa: BLE001 - nor is what it returns any better known
            number = math.inf
        if math.isinf(number):
            raise JudgeError(f"{self.place} returned {_shown(found)} for {shown}, no number.")
        return number


def find_function(place: str) -> tuple[Callable[..., Any], bool]:
    """The function at `module:function`, and whether it takes the prompt too.

    Raises:
        JudgeError: there is none.
    """
    import inspect

    module, _, name = place.partition(":")
    if not (module and name):
        raise JudgeError(f"python:{place}: write python:module:function.")
    try:
        with _here(), redirect_stdout(sys.stderr):
            function = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything
        raise JudgeError(f"cannot import {place} ({_said(error)}).") from None
    if not callable(function):
        raise JudgeError(f"{place} is no function.")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return function, False
    by_place = [
        p
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    return function, len(by_place) >= 2


@cache
def source_sha256(place: str) -> str | None:
    """Hash of the file in which the function at `module:function` is written; None for one without.

    As it was when this process first asked: what is imported stays as it was.

    Raises:
        JudgeError: there is no such function.
    """
    import inspect

    function, _ = find_function(place)
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # built in, or an object that can be called
        file = getattr(sys.modules[place.partition(":")[0]], "__file__", None)
    return file_sha256(Path(file)) if file and Path(file).is_file() else None


@contextmanager
def _here() -> Iterator[None]:
    """Modules of the working directory can be imported, as they can by `python -m`."""
    place = str(Path.cwd())
    added = place not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, place)
    try:
        yield
    finally:
        if added and place in sys.path:
            sys.path.remove(place)


def _said(error: BaseException) -> str:
    said = reason(error) if isinstance(error, Exception) else f"it left the program: {error}"
    return f"{type(error).__name__}: {said}"[:120]


def _shown(found: Any) -> str:
    try:
        return repr(str(found)[:40])
    except Exception:  # noqa: BLE001 - of a class of the user's
        return f"something of class {type(found).__name__}"
