"""Rows of files: checked keys, and values that are texts, conversations or facts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steerscope.errors import ContrastError, SteerscopeError
from steerscope.texts.chats import as_conversation
from steerscope.texts.files import parse_json
from steerscope.texts.lines import text_lines
from steerscope.texts.records import SUFFIXES, numbered_records

_TABLES = (".csv", ".tsv", ".json")


def checked_rows(
    path: Path, *, required: set[str], optional: set[str]
) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a file, all with these keys; values are texts, conversations, or facts by name.

    Raises:
        ContrastError: not such a file; the message has the line.
    """
    return [
        (number, checked_row(row, where, required, optional))
        for number, where, row in rows_of(path)
    ]


def prompt_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The `text` of each prompt of a file with its number, and its facts where it has some.

    Raises:
        ContrastError: not such a file; the message has the line.
    """
    if path.suffix.lower() not in SUFFIXES:
        return [(number, {"text": line}) for number, line in text_lines(path)]
    found = checked_rows(path, required={"prompt"}, optional={"facts"})
    return [(number, {"text": row.pop("prompt"), **row}) for number, row in found]


def rows_of(path: Path) -> Iterator[tuple[int, str, Any]]:
    """What each row of a file holds, with its number and where that is in words.

    Of what ends in .csv, .tsv or .json (one list) all items; of any other file each line as JSON, or the
    error where it is none.

    Raises:
        ContrastError: the file cannot be read, or has no row.
    """
    if path.suffix.lower() in _TABLES:
        yield from numbered_records(path)
        return
    for number, line in text_lines(path):
        where = f"{path}, line {number}"
        try:
            yield number, where, parse_json(line, where, ContrastError)
        except ContrastError as error:
            yield number, where, error


def checked_row(row: Any, where: str, required: set[str], optional: set[str]) -> dict[str, Any]:
    """An object that has been read, if it is one of these.

    Raises:
        ContrastError: it is not, or is an error itself; the message begins with where it stands.
    """
    if isinstance(row, ContrastError):
        raise row
    if isinstance(row, dict) and "messages" in row and "prompt" not in row:
        row["prompt"] = row.pop("messages")  # what others call it
    keys = set(row) if isinstance(row, dict) else set()
    if not required <= keys or keys - required - optional:
        raise ContrastError(
            f"{where}: needs the keys {', '.join(sorted(required))}"
            + (f" and may have {', '.join(sorted(optional))}" if optional else "")
            + f"; found {', '.join(sorted(keys)) or 'none'}."
        )
    return _texts_of(where, row)


def _texts_of(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row with every list of messages as a conversation; any other value must be a text."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key == "facts":
            if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
                raise ContrastError(
                    f'{where}: the facts must be texts by name, such as {{"mood": "gloomy"}}.'
                )
            found[key] = value
        elif isinstance(value, list) and key != "concept":
            try:
                found[key] = as_conversation(value)
            except SteerscopeError as error:
                raise ContrastError(f"{where}: {key!r}: {error}") from None
        elif isinstance(value, str):
            found[key] = value
        else:
            raise ContrastError(
                f"{where}: {key!r} must be a text, not {value!r}; a conversation is a list of messages."
            )
    return found
