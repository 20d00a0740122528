"""A function of the user's own as a judge."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from steerscope.errors import JudgeError, reason


@dataclass(frozen=True)
class UserFunction:
    """What `module:function` returns for each text: a number, or None where it cannot tell.

    The function takes the text, or the prompt and the text if it takes two arguments by position.
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
            self._number(function, (prompt, text) if takes_prompt else (text,))
            for prompt, text in zip(prompts, texts, strict=True)
        ]

    def _number(self, function: Callable[..., Any], arguments: tuple[str, ...]) -> float:
        shown = f"{arguments[-1][:40]!r}"
        try:
            found = function(*arguments)
        except Exception as error:  # noqa: BLE001 - a function of the user's may raise anything
            raise JudgeError(f"{self.place} raised on {shown} ({reason(error)[:120]}).") from None
        if found is None:
            return math.nan
        try:
            number = float(found)
        except (TypeError, ValueError, OverflowError):
            number = math.inf
        if math.isinf(number):
            raise JudgeError(f"{self.place} returned {str(found)[:40]!r} for {shown}, no number.")
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
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 - a module of the user's may raise anything
        raise JudgeError(f"cannot import {place} ({reason(error)[:120]}).") from None
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
