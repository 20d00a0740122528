"""When: which absolute token positions an intervention touches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from steerscope.errors import BadValueError, UnknownNameError

Kind = Literal["all", "everywhere", "prompt", "generated", "last", "window"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Scope:
    """A set of absolute positions, 0 = first token; the same in prefill, cached decoding and batches.

    Position 0 (the attention sink) belongs to `everywhere` and to a `window` that names it, and to
    nothing else.

    Attributes:
        kind: `all` positions but 0; `everywhere`, 0 included; the `prompt` without 0; the
            `generated` tokens; the `last` positions of the prompt; a `window` of positions.
        start: number of positions for `last`, first position for `window`.
        stop: end of the window, exclusive; None for no end.
    """

    kind: Kind = "all"
    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError("scope", self.kind, KINDS)
        if self.kind == "last" and self.start < 1:
            raise BadValueError(f"scope last:{self.start} is empty; give at least 1.")
        if self.kind == "window" and not 0 <= self.start < (self.stop or self.start + 1):
            raise BadValueError(f"scope {self} is empty; give 0 <= start < stop.")

    @classmethod
    def all(cls) -> Scope:
        """Every position but 0."""
        return cls("all")

    @classmethod
    def everywhere(cls) -> Scope:
        """Every position, 0 included."""
        return cls("everywhere")

    @classmethod
    def prompt(cls) -> Scope:
        """The positions of the prompt but 0."""
        return cls("prompt")

    @classmethod
    def generated(cls) -> Scope:
        """The positions after the prompt."""
        return cls("generated")

    @classmethod
    def last(cls, count: int) -> Scope:
        """The last `count` positions of the prompt."""
        return cls("last", count)

    @classmethod
    def window(cls, start: int, stop: int | None = None) -> Scope:
        """Positions from `start` up to, not including, `stop`."""
        return cls("window", start, stop)

    @classmethod
    def parse(cls, text: str) -> Scope:
        """The scope written as `all`, `everywhere`, `prompt`, `generated`, `last:3` or `window:2:9`.

        Raises:
            UnknownNameError: the first word is not a scope.
            BadValueError: the numbers are missing or not whole.
        """
        kind, *numbers = text.split(":")
        if kind not in KINDS:
            raise UnknownNameError("scope", kind, KINDS)
        wanted = {"last": (1,), "window": (1, 2)}.get(kind, (0,))
        if len(numbers) not in wanted or not all(n.isdigit() for n in numbers):
            raise BadValueError(
                f"cannot read scope {text!r}; write all, everywhere, prompt, generated, "
                "last:COUNT or window:START:STOP."
            )
        return cls(kind, *map(int, numbers))

    def __str__(self) -> str:
        if self.kind == "last":
            return f"last:{self.start}"
        if self.kind == "window":
            return f"window:{self.start}" + ("" if self.stop is None else f":{self.stop}")
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
        inside = position >= self.start
        return inside if self.stop is None else inside & (position < self.stop)
