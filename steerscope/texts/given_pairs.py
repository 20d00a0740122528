"""Contrast pairs as a user has them at hand: tuples, dicts, a data frame, rows of `datasets`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steerscope.errors import ContrastError
from steerscope.texts.chats import as_conversation
from steerscope.texts.pairs import COLUMNS, ContrastPair, make_pair

# What `load_contrasts` reads; a data frame and rows of `datasets` are iterables to a type checker.
PairsLike = (
    str
    | Path
    | Iterable[ContrastPair | Sequence[Any] | Mapping[str, Any] | str]
    | Mapping[str, Any]
)
_FORM = 'write each as ("She was happy.", "She was sad.") or {"positive": ..., "negative": ...}'


def given_pairs(pairs: object, concept: str) -> list[ContrastPair]:
    """The pairs, of this concept where they do not name one themselves.

    Raises:
        ContrastError: a pair cannot be read; the message has its number and the form to give.
    """
    if isinstance(pairs, str | Path):
        raise ContrastError(
            f"{str(pairs)[:60]!r} is a text and not pairs; give load_contrasts a name or a file, or "
            f"{_FORM}, in a list."
        )
    rows = _rows(pairs)
    if len(rows) == 2 and all(isinstance(row, str) for row in rows):
        rows = [rows]  # one pair that stands alone
    if len(rows) == 2 and all(_is_column(row) for row in rows):
        raise ContrastError(
            "two lists of texts are not pairs; give list(zip(positives, negatives))."
        )
    found = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(_pair(row, concept))
        except ContrastError as error:
            raise ContrastError(f"pair {number}: {error}") from None
    return found


def _rows(pairs: Any) -> list[Any]:
    """The pairs one by one, of whatever holds them."""
    if hasattr(pairs, "columns") and hasattr(pairs, "to_dict"):  # a data frame
        return [dict(row) for row in pairs.to_dict("records")]
    if isinstance(pairs, Mapping):
        if all(isinstance(value, str) for value in pairs.values()):
            return [pairs]  # one pair that stands alone
        two = next((two for two in COLUMNS if set(two) <= set(pairs)), None)
        if two is None:
            raise ContrastError(
                f"cannot read pairs from a mapping with {_names(pairs)}; of several splits give one, "
                'such as data["train"], else the columns positive and negative.'
            )
        columns = {name: list(pairs[name]) for name in pairs if not isinstance(pairs[name], str)}
        if len({len(column) for column in columns.values()}) > 1:
            lengths = ", ".join(f"{len(c)} of {name}" for name, c in columns.items())
            raise ContrastError(f"the columns differ in length: {lengths}; give as many of each.")
        shared = {name: pairs[name] for name in pairs if isinstance(pairs[name], str)}
        n = len(next(iter(columns.values())))
        return [{n: c[i] for n, c in columns.items()} | shared for i in range(n)]
    if not isinstance(pairs, Iterable):
        raise ContrastError(f"cannot read pairs from {_kind(pairs)}; {_FORM}, in a list.")
    return list(pairs)


def _pair(row: Any, concept: str) -> ContrastPair:
    if isinstance(row, ContrastPair):
        return row
    if isinstance(row, Mapping):
        return _of_mapping(row, concept)
    if isinstance(row, Sequence) and not isinstance(row, str) and len(row) in {2, 3}:
        positive, negative, *named = row
        return make_pair(
            _text(positive), _text(negative), _concept(named[0], concept) if named else concept
        )
    raise ContrastError(f"cannot read it from {_kind(row)}; {_FORM}.")


def _of_mapping(row: Mapping[str, Any], concept: str) -> ContrastPair:
    two = next((two for two in COLUMNS if set(two) <= set(row)), None)
    if two is None:
        raise ContrastError(
            f"it has {_names(row)}; name the two texts positive and negative, or chosen and rejected."
        )
    prompt = row.get("prompt")
    asked = None if _is_missing(prompt) or isinstance(row[two[0]], list) else _text(prompt)
    positive, negative = (_text(row[name]) for name in two)
    return make_pair(positive, negative, _concept(row.get("concept"), concept), asked)


def _concept(value: Any, otherwise: str) -> str:
    """The concept that a pair names, or the other where it names none."""
    if _is_missing(value):
        return otherwise
    if not isinstance(value, str):
        raise ContrastError(f"its concept is {_kind(value)}; name it in words, or leave it out.")
    return value or otherwise


def _is_missing(value: Any) -> bool:
    """Whether it is an empty cell, as of a data frame: None, NaN or pandas' NA."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in {"NAType", "NaTType"}


def _text(value: Any) -> str:
    """A text, or a conversation of a list of messages."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(m, Mapping) for m in value):
        return as_conversation(value)
    raise ContrastError(f"a text of a pair is {_kind(value)}; {_FORM}.")


def _is_column(value: object) -> bool:
    """Whether it is a list of texts that cannot be a pair."""
    texts = isinstance(value, list) and all(isinstance(text, str) for text in value)
    return texts and len(value) not in {2, 3}  # type: ignore[arg-type]


def _names(row: Mapping[Any, Any]) -> str:
    return f"the names {', '.join(sorted(map(str, row))[:8]) or '(none)'}"


def _kind(value: object) -> str:
    return f"{type(value).__name__} {value!r:.60}"
