"""Tables that people filled in: CSV as spreadsheets save it, whatever their language."""

from __future__ import annotations

import codecs
import csv
import io
from contextlib import suppress
from pathlib import Path

from steerscope.texts.files import read_text

_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONGEST = 2**24  # characters of a cell


def sheet_rows(
    path: Path, columns: set[str], refused: type[Exception], *, any_encoding: bool = False
) -> list[tuple[str, dict[str, str]]]:
    """The rows of a table with a head, each with its place; cells by the lower-case name of the column.

    Columns are parted by commas, semicolons or tabs, whichever finds those that are needed. Rows
    without any content are left out.

    Args:
        path: of the file.
        columns: those that are needed.
        refused: class of the errors.
        any_encoding: whether a file that is not Unicode is read too, where what counts is ASCII.

    Raises:
        Exception: of the class `refused`: it cannot be read, lacks a column, or has a row with more cells
            than columns.
    """
    csv.field_size_limit(_LONGEST)
    text = _text(path, refused, any_encoding=any_encoding)
    head = next(iter(text.strip().splitlines()), "")
    for separator in _SEPARATORS:
        if columns <= set(_names(next(csv.reader([head], delimiter=separator), []))):
            break
    else:
        raise refused(f"{path} needs the columns {' and '.join(sorted(columns))}.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        filled = [row for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise refused(f"{path}, line {reader.line_num}: no table ({error}).") from None
    names = _names(filled[0])
    found = []
    for number, row in enumerate(filled[1:], 1):
        where, n = f"{path}, row {number}", len(names)
        if any(map(str.strip, row[n:])):
            raise refused(
                f"{where}: has {len(row)} cells where the first line names {n}; put quotes around a text "
                f"that holds {_SEPARATORS[separator]}."
            )
        found.append((where, dict(zip(names, row, strict=False))))
    return found


def _names(row: list[str]) -> list[str]:
    return [name.strip().lower() for name in row]


def _text(path: Path, refused: type[Exception], *, any_encoding: bool) -> str:
    try:
        begins = path.read_bytes()[:2] if path.is_file() else b""
        for encoding in ("utf-16",) if begins in _UTF_16 else ("utf-8-sig", "latin-1"):
            if encoding != "latin-1" or any_encoding:
                with suppress(UnicodeDecodeError), path.open(encoding=encoding, newline="") as file:
                    return file.read()
    except OSError:
        pass  # said better below
    return read_text(path, refused)
