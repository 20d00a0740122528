"""Which token of a text is read, or over which tokens the mean is taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import BadValueError, TooLittleDataError

_SINK = "+sink"
_INDEX = re.compile(r"(?:token )?(-?[0-9]{1,9})")
_SPAN = re.compile(r"(?:tokens )?(-?[0-9]{1,9})?:(-?[0-9]{1,9})?")


@dataclass(frozen=True)
class ReadToken:
    """Which token of a text to read: one position, or a mean over content tokens.

    Position 0, where many models keep an attention sink of giant norm, is read only when asked.

    Attributes:
        kind: `index` for one token, `mean` for all content tokens, `span` for those from `start`.
        index: the token; negative counts from the end, so -1 is the last.
        start: first token of a span, negative from the end; default the first content token.
        stop: the token after the span, negative from the end; default the end of the text.
        sink: whether position 0 is a token like any other.
    """

    kind: Literal["index", "mean", "span"] = "index"
    index: int = -1
    start: int | None = None
    stop: int | None = None
    sink: bool = False

    @classmethod
    def last(cls) -> ReadToken:
        """The last token."""
        return cls("index", -1)

    @classmethod
    def at(cls, index: int, *, sink: bool = False) -> ReadToken:
        """One token; negative counts from the end."""
        return cls("index", index, sink=sink)

    @classmethod
    def mean(cls, *, sink: bool = False) -> ReadToken:
        """Mean over the content tokens."""
        return cls("mean", sink=sink)

    @classmethod
    def span(cls, start: int | None, stop: int | None, *, sink: bool = False) -> ReadToken:
        """Mean over the tokens from `start` up to but without `stop`, as a slice of Python."""
        return cls("span", start=start, stop=stop, sink=sink)

    @classmethod
    def parse(cls, text: str) -> ReadToken:
        """The token written as `last`, `mean`, an index or a span like `2:5`; inverse of `str`.

        `+sink` at the end, as in `mean+sink`, lets position 0 in.

        Raises:
            BadValueError: none of these.
        """
        bare, sink = text.removesuffix(_SINK), text.endswith(_SINK)
        if bare == "mean":
            return cls.mean(sink=sink)
        if bare == "last":
            return cls.at(-1, sink=sink)
        if one := _INDEX.fullmatch(bare):
            return cls.at(int(one[1]), sink=sink)
        if span := _SPAN.fullmatch(bare):
            return cls.span(
                *(None if end is None else int(end) for end in span.groups()), sink=sink
            )
        raise BadValueError(
            f"cannot read token {text!r}; write last, mean or an index like -2, or a span like 2:5 "
            f"or -4: for the last four; {_SINK} at the end lets position 0 in."
        )

    def __str__(self) -> str:
        if self.kind == "index":
            place = f"token {self.index}"
        elif self.kind == "span":
            start, stop = ("" if end is None else str(end) for end in (self.start, self.stop))
            place = f"tokens {start}:{stop}"
        else:
            place = "mean"
        return place + _SINK * self.sink

    def __call__(self, activation: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch d"]:
        """The activation at this token.

        Raises:
            BadValueError: the text is too short, or the token is position 0 and was not asked for.
        """
        positions = self.positions(activation.shape[1])
        if len(positions) == 1:
            return activation[:, positions.start]
        # the mean of many tokens is finer than a narrow number format
        wide = torch.promote_types(activation.dtype, torch.float32)
        return activation[:, positions.start : positions.stop].mean(dim=1, dtype=wide)

    def positions(self, n_tokens: int) -> range:
        """The absolute positions that are read of a text of that many tokens.

        Raises:
            BadValueError: there is none, or position 0 is among them and was not asked for.
        """
        first = 0 if self.sink else 1
        if self.kind == "mean" and n_tokens <= first:
            raise BadValueError("a text of one token has no content tokens; use a longer text.")
        start, stop = {
            "mean": (first, n_tokens),
            "index": (self.index, self.index + 1 or n_tokens),
            "span": (
                first if self.start is None else self.start,
                n_tokens if self.stop is None else self.stop,
            ),
        }[self.kind]
        start, stop = (end + n_tokens if end < 0 else end for end in (start, stop))
        if not first <= start < stop <= n_tokens:
            sink = "" if self.sink else "position 0 is the attention sink and not read; "
            raise BadValueError(
                f"cannot read {self} of a text of {n_tokens} tokens: {sink}"
                "use a longer text or another token."
            )
        return range(start, stop)


def as_read(read: ReadToken | str | int | None) -> ReadToken | None:
    """The token itself, or what a text or an index says; None stays None.

    Raises:
        BadValueError: it is none of these, or the text is of no such form.
    """
    if read is None or isinstance(read, ReadToken):
        return read
    if isinstance(read, str | int) and not isinstance(read, bool):
        return ReadToken.parse(str(read))
    raise BadValueError(
        f"cannot read a token from {type(read).__name__} {read!r:.60}; write last, mean, -2 or -4:."
    )


def count_content(
    name: str, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], model: str
) -> int:
    """Content tokens of the texts of pairs, which are those behind position 0.

    Args:
        name: of the pairs.
        pairs: the token ids of both texts of each.
        model: whose tokens they are.

    Raises:
        TooLittleDataError: there is none.
    """
    n = sum(len(text) - 1 for pair in pairs for text in pair)
    if not n:
        raise TooLittleDataError(
            f"every text of {name!r} has one token on {model}, which is position 0, the attention "
            "sink, and no content; give longer texts, or begin them with a token, where the "
            "tokenizer has one for it (bos='always', --bos always)."
        )
    return n
