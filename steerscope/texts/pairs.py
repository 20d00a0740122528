"""Contrast pairs: two texts that differ in one concept, and the files that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from steerscope.errors import ContrastError
from steerscope.texts.bundled import CONTRASTS_SUFFIX
from steerscope.texts.chats import Conversation, as_conversation, turns_apart
from steerscope.texts.lines import check_text, text_lines
from steerscope.texts.rows import json_row

_KEYS = {"positive", "negative"}
_MAY_HAVE = {"prompt", "concept"}


@dataclass(frozen=True)
class ContrastPair:
    """Two texts that differ in one concept: the positive has it, the negative has its opposite.

    Attributes:
        positive: the text that directions point to.
        negative: alike in all but the concept, above all in length and topic.
        concept: its name, the same in every pair of a set.

    Raises:
        ContrastError: a text is empty or holds half of a surrogate pair, or both are the same.
    """

    positive: str
    negative: str
    concept: str

    def __post_init__(self) -> None:
        for side in ("positive", "negative", "concept"):
            if not getattr(self, side).strip():
                raise ContrastError(f"the {side} text is empty; write a sentence.")
            check_text(f"{side} text", getattr(self, side))
        if self.positive == self.negative:
            raise ContrastError("positive and negative are the same text; they must differ.")

    @property
    def said(self) -> tuple[str, str]:
        """What positive and negative say: of conversations, all after the turns that both open with."""
        return turns_apart(self.positive, self.negative) or (self.positive, self.negative)


def pairs_in(path: Path) -> Iterator[tuple[int, ContrastPair | ContrastError]]:
    """The pair of each line of a JSON-lines file with its number, or what is wrong with the line.

    A line that names no concept is of the one that the file is named after.

    Raises:
        ContrastError: the file cannot be read, or has no line.
    """
    named = path.name.removesuffix(CONTRASTS_SUFFIX)
    for number, line in text_lines(path):
        where = f"{path}, line {number}"
        try:
            row = json_row(line, where, required=_KEYS, optional=_MAY_HAVE)
        except ContrastError as error:
            yield number, error
            continue
        try:
            yield number, make_pair(**{"concept": named, **row})
        except ContrastError as error:
            yield number, ContrastError(f"{where}: {error}")


def make_pair(
    positive: str, negative: str, concept: str, prompt: str | None = None
) -> ContrastPair:
    """A pair of texts, or of answers to one question."""
    if prompt is None:
        return ContrastPair(positive, negative, concept)
    if isinstance(positive, Conversation) or isinstance(negative, Conversation):
        raise ContrastError("beside a prompt, positive and negative are texts: the two answers.")
    asked = as_conversation(prompt)
    return ContrastPair(asked.then(positive), asked.then(negative), concept)
