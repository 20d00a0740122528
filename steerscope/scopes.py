"""When: which absolute token positions an intervention touches, and the algebra of such sets."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Any, Literal, get_args

from steerscope.errors import BadValueError, UnknownNameError

Kind = Literal["all", "everywhere", "prompt", "generated", "last", "window", "steps"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_HOW = (
    "write all, everywhere, prompt, generated, last:COUNT, window:START:STOP or steps:START:STOP, "
    "joined by | (or), & (and) and - (but not), with brackets"
)


class Scope(ABC):
    """A set of absolute positions, 0 = first token; the same in prefill, cached decoding and batches.

    Position 0 (the attention sink) belongs to `everywhere` and to a `window` that names it, and to
    nothing else. Scopes compose: `a | b` is either, `a & b` both, `a - b` the first but not the
    second. `str` and `parse` are inverse.
    """

    @abstractmethod
    def includes(self, position: Any, prompt_length: Any) -> Any:
        """Whether a position, or each of an array of positions, is in this scope."""

    def __or__(self, other: Scope) -> Scope:
        return Either(_members(self, Either) + _members(other, Either))

    def __and__(self, other: Scope) -> Scope:
        return Both(_members(self, Both) + _members(other, Both))

    def __sub__(self, other: Scope) -> Scope:
        return Except(self, other)

    @staticmethod
    def all() -> Scope:
        """Every position but 0."""
        return Span("all")

    @staticmethod
    def everywhere() -> Scope:
        """Every position, 0 included."""
        return Span("everywhere")

    @staticmethod
    def prompt() -> Scope:
        """The positions of the prompt but 0."""
        return Span("prompt")

    @staticmethod
    def generated() -> Scope:
        """The positions after the prompt."""
        return Span("generated")

    @staticmethod
    def last(count: int) -> Scope:
        """The last `count` positions of the prompt."""
        return Span("last", count)

    @staticmethod
    def window(start: int, stop: int | None = None) -> Scope:
        """Positions from `start` up to, not including, `stop`."""
        return Span("window", start, stop)

    @staticmethod
    def steps(start: int, stop: int | None = None) -> Scope:
        """Generated tokens number `start` up to, not including, `stop`; the first is number 1."""
        return Span("steps", start, stop)

    @staticmethod
    def parse(text: str) -> Scope:
        """The scope written as `prompt`, `last:3`, `window:2:9` or `(prompt | generated) - last:3`.

        `-` binds tighter than `&`, and `&` tighter than `|`, as in Python. `from:4` is `window:4`.

        Raises:
            UnknownNameError: a word is not a scope.
            BadValueError: numbers are missing or not whole, or the brackets do not match.
        """
        words = re.findall(r"[|&()-]|[^\s|&()-]+", text)
        scope, rest = _read(words, text)
        if rest:
            raise BadValueError(f"cannot read scope {text!r} from {rest[0]!r} on; {_HOW}.")
        return scope


@dataclass(frozen=True)
class Span(Scope):
    """A scope of one word.

    Attributes:
        kind: `all` positions but 0; `everywhere`, 0 included; the `prompt` without 0; the
            `generated` tokens; the `last` positions of the prompt; a `window` of positions; the
            `steps` of a generation, of which the first generated token is number 1.
        start: number of positions for `last`, first position or step for `window` and `steps`.
        stop: end of the window or steps, exclusive; None for no end.
    """

    kind: Kind = "all"
    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError("scope", self.kind, KINDS)
        if self.kind == "last" and self.start < 1:
            raise BadValueError(f"scope last:{self.start} is empty; give at least 1.")
        first = {"window": 0, "steps": 1}.get(self.kind)
        if first is not None and not first <= self.start < (self.stop or self.start + 1):
            raise BadValueError(f"scope {self} is empty; give {first} <= start < stop.")

    def __str__(self) -> str:
        if self.kind == "last":
            return f"last:{self.start}"
        if self.kind in {"window", "steps"}:
            return f"{self.kind}:{self.start}" + ("" if self.stop is None else f":{self.stop}")
        return self.kind

    def includes(self, position: Any, prompt_length: Any) -> Any:
        """Whether a position, or each of an array of positions, is in this scope."""
        if self.kind == "everywhere":
            return position >= 0
        if self.kind == "all":
            return position >= 1
        if self.kind == "prompt":
            return (position >= 1) & (position < prompt_length)
        if self.kind == "generated":
            return position >= prompt_length
        if self.kind == "last":
            late = position >= prompt_length - self.start
            return late & (position >= 1) & (position < prompt_length)
        place = position if self.kind == "window" else position - prompt_length + 1
        inside = place >= self.start
        return inside if self.stop is None else inside & (place < self.stop)


@dataclass(frozen=True)
class Either(Scope):
    """The positions that are in any of the parts."""

    parts: tuple[Scope, ...]

    def __str__(self) -> str:
        return "|".join(map(str, self.parts))

    def includes(self, position: Any, prompt_length: Any) -> Any:
        """Whether a position, or each of an array of positions, is in this scope."""
        return reduce(or_, (p.includes(position, prompt_length) for p in self.parts))


@dataclass(frozen=True)
class Both(Scope):
    """The positions that are in all of the parts."""

    parts: tuple[Scope, ...]

    def __str__(self) -> str:
        return "&".join(f"({p})" if isinstance(p, Either) else str(p) for p in self.parts)

    def includes(self, position: Any, prompt_length: Any) -> Any:
        """Whether a position, or each of an array of positions, is in this scope."""
        return reduce(and_, (p.includes(position, prompt_length) for p in self.parts))


@dataclass(frozen=True)
class Except(Scope):
    """The positions of one scope that are not in another."""

    scope: Scope
    without: Scope

    def __str__(self) -> str:
        left = f"({self.scope})" if isinstance(self.scope, Either | Both) else str(self.scope)
        right = str(self.without) if isinstance(self.without, Span) else f"({self.without})"
        return f"{left}-{right}"

    def includes(self, position: Any, prompt_length: Any) -> Any:
        """Whether a position, or each of an array of positions, is in this scope."""
        inside = self.scope.includes(position, prompt_length)
        return inside & (
            self.without.includes(position, prompt_length) ^ True
        )  # ~ of a bool is odd


def _members(scope: Scope, kind: type[Either] | type[Both]) -> tuple[Scope, ...]:
    return scope.parts if isinstance(scope, kind) else (scope,)


_BINDING = {"|": 0, "&": 1, "-": 2}


def _read(words: list[str], text: str, loosest: int = 0) -> tuple[Scope, list[str]]:
    """A scope from the front of the words, with operators that bind at least so tightly."""
    scope, words = _read_one(words, text)
    while words and _BINDING.get(words[0], -1) >= loosest:
        sign = words[0]
        other, words = _read(words[1:], text, _BINDING[sign] + 1)
        scope = {"|": scope.__or__, "&": scope.__and__, "-": scope.__sub__}[sign](other)
    return scope, words


def _read_one(words: list[str], text: str) -> tuple[Scope, list[str]]:
    """A word, or what is in brackets, from the front of the words."""
    if not words or words[0] in "|&-)":
        raise BadValueError(f"cannot read scope {text!r}: a scope is missing; {_HOW}.")
    if words[0] != "(":
        return _read_span(words[0]), words[1:]
    scope, rest = _read(words[1:], text)
    if rest[:1] != [")"]:
        raise BadValueError(f"cannot read scope {text!r}: a bracket is not closed; {_HOW}.")
    return scope, rest[1:]


def _read_span(word: str) -> Span:
    kind, *numbers = word.split(":")
    kind = {"from": "window"}.get(kind, kind)
    if kind not in KINDS:
        raise UnknownNameError("scope", kind, KINDS)
    wanted = {"last": (1,), "window": (1, 2), "steps": (1, 2)}.get(kind, (0,))
    if len(numbers) not in wanted or not all(n.isdigit() for n in numbers):
        raise BadValueError(f"cannot read scope {word!r}; {_HOW}.")
    return Span(kind, *map(int, numbers))
