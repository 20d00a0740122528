"""Files of items with named columns: CSV, TSV, JSON lines, or one JSON list of objects."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steerscope.errors import ContrastError
from steerscope.texts.files import parse_json, read_text
from steerscope.texts.lines import text_lines

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".ndjson")
_CELL = 2**24  # characters of one cell of a CSV file, at most


def read_records(path: str | Path, needed: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The items of a file in their order, each with the same columns.

    Args:
        path: the file; its suffix says of which kind it is.
        needed: columns that every item must have.

    Raises:
        ContrastError: as `numbered_records`, or a column is missing; the message says where.
    """
    found = numbered_records(Path(path))
    for _, where, item in found:
        for name in needed:
            if name not in item:
                raise ContrastError(
                    f"{where}: has no {name!r}; its columns are {', '.join(item) or 'none'}."
                )
    return [item for *_, item in found]


def numbered_records(path: Path) -> list[tuple[int, str, dict[str, Any]]]:
    """The items of a file, each with its number and where that is in words.

    The values of a CSV or TSV file are texts; those of a JSON file are as they stand. A first column without
    a name numbers the rows, and is left out.

    Raises:
        ContrastError: no such file, another kind of file, or a line that is no item.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ContrastError(f"{path}: give a file that ends in {', '.join(SUFFIXES)}.")
    if suffix == ".json":
        found = parse_json(read_text(path, ContrastError), str(path), ContrastError)
        if not isinstance(found, list):
            raise ContrastError(f"{path} holds no list of items; write [{{...}}, {{...}}].")
        numbered = [(n, f"{path}, item {n}", item) for n, item in enumerate(found, start=1)]
    elif suffix in {".jsonl", ".ndjson"}:
        numbered = [
            (n, where := f"{path}, line {n}", parse_json(line, where, ContrastError))
            for n, line in text_lines(path)
        ]
    else:
        numbered = _cells(path)
    if not numbered:
        raise ContrastError(f"{path} has no items.")
    for _, where, item in numbered:
        if not isinstance(item, dict):
            raise ContrastError(f"{where}: an item is a JSON object with named values.")
    return numbered


def _separator(text: str) -> str:
    """What stands between the columns of a CSV file: where decimals have a comma, spreadsheets write semicolons."""
    head = text.partition("\n")[0]
    return ";" if ";" in head and "," not in head else ","


def _cells(path: Path) -> list[tuple[int, str, dict[str, Any]]]:
    """The rows of a CSV or TSV file, by the names in its first."""
    text = read_text(path, ContrastError)
    before = csv.field_size_limit(_CELL)
    between = "\t" if path.suffix.lower() == ".tsv" else _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ContrastError(f"{path}, line {reader.line_num}: {error}.") from None
    finally:
        csv.field_size_limit(before)
    if not rows:
        return []
    names = [name.strip() for name in rows[0][1]]
    if len(names) > 1 and not names[0]:  # the numbers of the rows, as pandas writes them
        names, rows = names[1:], [(line, row[1:]) for line, row in rows]
    if len(set(names)) < len(names) or "" in names:
        raise ContrastError(f"{path}: every column needs a name of its own in the first line.")
    found = []
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise ContrastError(
                f"{path}, line {line}: has {len(row)} values where the first line names {len(names)}."
            )
        found.append((line, f"{path}, line {line}", dict(zip(names, row, strict=True))))
    return found
