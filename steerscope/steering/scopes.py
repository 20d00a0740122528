"""When: which absolute token positions an intervention touches, and the algebra of such sets."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_, or_
from typing import Any, Literal, get_args

import torch

from steerscope.errors import BadValueError, UnknownNameError

Kind = Literal["all", "everywhere", "prompt", "generated", "last", "window", "steps"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TOKEN_KINDS = ("from_token", "after_token")
_NEVER = 2**62  # a position that no text reaches
_NO_TOKEN = -1
_LONGEST, _DEEPEST = 1000, 50  # characters of a scope, and brackets within each other
_IS_NUMBER = re.compile("[0-9]{1,9}").fullmatch
_HOW = (
    "write all, everywhere, prompt, generated, last:COUNT, window:START:STOP, steps:START:STOP, "
    "from_token:ID,ID or after_token:ID,ID, joined by | (or), & (and) and - (but not), with brackets"
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

    def includes_all_from(self, position: int) -> bool:  # noqa: ARG002 - most depend on the prompt
        """Whether it is known to hold this position and every later one, whatever the prompt."""
        return False

    @property
    def reads_tokens(self) -> bool:
        """Whether the positions depend on the tokens of a text, so that `given` comes first."""
        return False

    @property
    def reads_the_end(self) -> bool:
        """Whether the positions depend on where the prompt ends."""
        return False

    @property
    def looks_for(self) -> tuple[int, ...]:
        """The token ids that it begins at."""
        return ()

    def given(self, tokens: Any) -> Scope:  # noqa: ARG002 - most scopes need no tokens
        """The same scope where the rows hold these tokens [row, pos], from position 0 on."""
        return self

    def holds_the_first(self) -> bool:
        """Whether position 0 is in this scope, in a text without any token that it may look for."""
        elsewhere = self.given(torch.full((1, 8), _NO_TOKEN))
        return bool(torch.as_tensor(elsewhere.includes(torch.tensor(0), torch.tensor(8))).any())

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
    def from_token(*ids: int) -> Scope:
        """From the first place on at which the tokens are these, the last of them included.

        The place may be in the prompt or in what is generated. It counts from where the last of the
        tokens stands, since the tokens before it cannot know what follows.
        """
        return FromToken(ids)

    @staticmethod
    def after_token(*ids: int) -> Scope:
        """As `from_token`, without the tokens themselves."""
        return FromToken(ids, after=True)

    @staticmethod
    def parse(text: str) -> Scope:
        """The scope written as `prompt`, `last:3`, `window:2:9` or `(prompt | generated) - last:3`.

        `-` binds tighter than `&`, and `&` tighter than `|`, as in Python. `from:4` is `window:4`;
        `from_token:7,9` is from the token 7 on that 9 follows.

        Raises:
            UnknownNameError: a word is not a scope.
            BadValueError: numbers are missing or not whole, or the brackets do not match.
        """
        _check_size(text)
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
        stop = self.start + 1 if self.stop is None else self.stop
        if first is not None and not first <= self.start < stop:
            raise BadValueError(f"scope {self} is empty; give {first} <= start < stop.")

    @property
    def reads_the_end(self) -> bool:
        """Whether the positions depend on where the prompt ends."""
        return self.kind in {"prompt", "generated", "last", "steps"}

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

    def includes_all_from(self, position: int) -> bool:
        """Whether it is known to hold this position and every later one, whatever the prompt."""
        first = {"everywhere": 0, "all": 1, "window": self.start}.get(self.kind)
        return first is not None and self.stop is None and position >= first


@dataclass(frozen=True)
class FromToken(Scope):
    """The positions from the first occurrence of some tokens on; position 0 never.

    Attributes:
        ids: the tokens, in their order.
        after: whether the last of them is left out.
    """

    ids: tuple[int, ...]
    after: bool = False

    def __post_init__(self) -> None:
        if not self.ids or min(self.ids) < 0:
            raise BadValueError(f"scope {self}: give at least one token id, none below 0.")

    def __str__(self) -> str:
        return f"{TOKEN_KINDS[self.after]}:{','.join(map(str, self.ids))}"

    @property
    def reads_tokens(self) -> bool:
        """Whether the positions depend on the tokens of a text, so that `given` comes first."""
        return True

    @property
    def looks_for(self) -> tuple[int, ...]:
        """The token ids that it begins at."""
        return self.ids

    def given(self, tokens: Any) -> Scope:
        """The same scope where the rows hold these tokens [row, pos], from position 0 on."""
        n_places = tokens.shape[1] - len(self.ids) + 1
        if n_places < 1:
            return _Onwards(tokens[:, :1] * 0 + _NEVER)
        found = reduce(
            and_, (tokens[:, i : i + n_places] == token for i, token in enumerate(self.ids))
        )
        place = found.int().argmax(dim=1) + len(self.ids) - 1 + self.after  # the first, of equals
        return _Onwards(place.where(found.any(dim=1), _NEVER)[:, None])

    def includes(self, position: Any, prompt_length: Any) -> Any:  # noqa: ARG002
        """Refuses, since the tokens are not known here."""
        raise BadValueError(
            f"scope {self} depends on the tokens of a text, which are not known here; use a scope of "
            "positions."
        )


@dataclass(frozen=True, eq=False)
class _Onwards(Scope):
    """The positions from one on in each row; what `FromToken` becomes once it knows the tokens."""

    first: Any

    def includes(self, position: Any, prompt_length: Any) -> Any:  # noqa: ARG002
        """Whether a position, or each of an array of positions, is in this scope."""
        return (position >= self.first) & (position >= 1)


@dataclass(frozen=True)
class _Joined(Scope):
    parts: tuple[Scope, ...]

    @property
    def reads_tokens(self) -> bool:
        """Whether the positions depend on the tokens of a text, so that `given` comes first."""
        return any(p.reads_tokens for p in self.parts)

    @property
    def reads_the_end(self) -> bool:
        """Whether the positions depend on where the prompt ends."""
        return any(p.reads_the_end for p in self.parts)

    @property
    def looks_for(self) -> tuple[int, ...]:
        """The token ids that it begins at."""
        return tuple(i for p in self.parts for i in p.looks_for)

    def given(self, tokens: Any) -> Scope:
        """The same scope where the rows hold these tokens [row, pos], from position 0 on."""
        return replace(self, parts=tuple(p.given(tokens) for p in self.parts))


@dataclass(frozen=True)
class Either(_Joined):
    """The positions that are in any of the parts."""

    def __str__(self) -> str:
        return "|".join(map(str, self.parts))

    def includes(self, position: Any, prompt_length: Any) -> Any:
        """Whether a position, or each of an array of positions, is in this scope."""
        return reduce(or_, (p.includes(position, prompt_length) for p in self.parts))


@dataclass(frozen=True)
class Both(_Joined):
    """The positions that are in all of the parts."""

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
        alone = isinstance(self.without, Span | FromToken)
        return f"{left}-{self.without if alone else f'({self.without})'}"

    @property
    def reads_tokens(self) -> bool:
        """Whether the positions depend on the tokens of a text, so that `given` comes first."""
        return self.scope.reads_tokens or self.without.reads_tokens

    @property
    def reads_the_end(self) -> bool:
        """Whether the positions depend on where the prompt ends."""
        return self.scope.reads_the_end or self.without.reads_the_end

    @property
    def looks_for(self) -> tuple[int, ...]:
        """The token ids that it begins at."""
        return self.scope.looks_for + self.without.looks_for

    def given(self, tokens: Any) -> Scope:
        """The same scope where the rows hold these tokens [row, pos], from position 0 on."""
        return Except(self.scope.given(tokens), self.without.given(tokens))

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


def _check_size(text: str) -> None:
    """Refuse a text that would take for ever, or more brackets within each other than can be read."""
    depth = deepest = 0
    for sign in text:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        deepest = max(deepest, depth)
    if len(text) > _LONGEST or deepest > _DEEPEST:
        raise BadValueError(
            f"cannot read a scope of {len(text):,} characters and {deepest:,} brackets within each "
            f"other; at most {_LONGEST:,} and {_DEEPEST} can be read."
        )


def _read_span(word: str) -> Scope:
    kind, *numbers = word.split(":")
    if kind in TOKEN_KINDS:
        ids = ":".join(numbers).split(",")
        if not all(map(_IS_NUMBER, ids)):
            raise BadValueError(f"cannot read scope {word!r}; {_HOW}.")
        return FromToken(tuple(map(int, ids)), after=kind == "after_token")
    kind = {"from": "window"}.get(kind, kind)
    if kind not in KINDS:
        raise UnknownNameError("scope", kind, (*KINDS, *TOKEN_KINDS))
    wanted = {"last": (1,), "window": (1, 2), "steps": (1, 2)}.get(kind, (0,))
    if len(numbers) not in wanted or not all(map(_IS_NUMBER, numbers)):
        raise BadValueError(f"cannot read scope {word!r}; {_HOW}.")
    return Span(kind, *map(int, numbers))
