"""Contrast pairs: two texts that differ in one concept, and the files that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerscope.errors import ContrastError
from steerscope.texts.chats import Conversation, as_conversation, turns_apart
from steerscope.texts.lines import check_text
from steerscope.texts.rows import checked_row, rows_of

# What the two texts are called, here and by others: control vectors, preference data.
COLUMNS = (("positive", "negative"), ("chosen", "rejected"), ("pos", "neg"))
_KEYS = {"positive", "negative"}
_MAY_HAVE = {"concept", "prompt"}


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
    """The pair of each line with its number, or what is wrong with the line.

    Of a JSON-lines file, or of what ends in .csv, .tsv or .json (one list). The texts may go by any of
    the names in `COLUMNS`; a pair that names no concept is of the file's.

    Raises:
        ContrastError: the file cannot be read, or has no line.
    """
    for number, where, row in rows_of(path):
        try:
            found = checked_row(_by_our_names(row), where, _KEYS, _MAY_HAVE)
        except ContrastError as error:
            yield number, error
            continue
        try:
            yield number, make_pair(**{"concept": path.stem, **found})
        except ContrastError as error:
            yield number, ContrastError(f"{where}: {error}")


def _by_our_names(row: Any) -> Any:
    """The row with its two texts as positive and negative, whatever they are called."""
    two = next((two for two in COLUMNS if isinstance(row, dict) and set(two) <= set(row)), None)
    if two is None:
        return row
    ours = dict(zip(two, COLUMNS[0], strict=True))
    return {ours.get(name, name): value for name, value in row.items()}


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
