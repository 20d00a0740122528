"""Whether pages, figures and tables say what the rows give."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from steerscope.figures.files import Plate, figure_numbers, figure_page
from steerscope.verification.difference import Difference
from steerscope.verification.pages import Printed, printed


def compare_pages(where: str, stored: str, expected: str) -> tuple[int, list[Difference]]:
    """How much is printed on a page, and what of it the rows do not give."""
    there, wanted = _by_place(printed(stored)), _by_place(printed(expected))
    found = [
        Difference(
            f"{where}, {place}", "what it prints", _quoted(there, place), _quoted(wanted, place)
        )
        for place in dict.fromkeys([*wanted, *there])
        if there.get(place) != wanted.get(place)
    ]
    return len(wanted), found


def compare_figures(folder: Path, plates: Sequence[Plate]) -> tuple[int, list[Difference]]:
    """How many numbers the pages of figures draw, and what of them the rows do not give.

    Pictures cannot be read back; their pages are compared, where there are any.
    """
    count = 0
    found: list[Difference] = []
    for plate in plates:
        path = folder / f"{plate.name}.html"
        if path.is_file():
            expected = figure_page(plate)
            n, differing = compare_pages(
                f"{folder.name}/{path.name}", path.read_text(encoding="utf-8"), expected
            )
            count, found = count + n, found + differing
        numbers = folder / f"{plate.name}.csv"
        if numbers.is_file():
            n, differing = compare_tables(folder, {numbers.name: figure_numbers(plate)})
            count, found = count + n, found + differing
    return count, found


def compare_tables(folder: Path, expected: dict[str, str]) -> tuple[int, list[Difference]]:
    """How many cells the tables have, and which the rows do not give; a missing table is one.

    Args:
        folder: of the tables.
        expected: name of each file and what belongs in it; .csv by cells, all others as a whole.
    """
    count = 0
    found: list[Difference] = []
    for name, text in expected.items():
        path, where = folder / name, f"{folder.name}/{name}"
        rows = list(csv.DictReader(io.StringIO(text))) if path.suffix == ".csv" else []
        count += sum(map(len, rows)) or 1
        if not path.is_file():
            found.append(Difference(where, "the table", "missing", f"{len(rows)} rows"))
            continue
        stored = path.read_bytes()
        if stored != text.encode():
            cells = list(_cells(where, stored.decode(errors="replace"), rows)) if rows else []
            whole = Difference(where, "the file", "other bytes", "what the rows give")
            found += cells or [whole]
    return count, found


def _cells(where: str, stored: str, rows: list[dict[str, str]]) -> Iterator[Difference]:
    there = list(csv.DictReader(io.StringIO(stored)))
    none: dict[str, str] = {}
    for number, (mine, wanted) in enumerate(zip_longest(there, rows, fillvalue=none), start=1):
        for column in dict.fromkeys([*wanted, *mine]):
            if mine.get(column) != wanted.get(column):
                yield Difference(
                    f"{where}, row {number}",
                    str(column),
                    str(mine.get(column, "missing")),
                    str(wanted.get(column, "none")),
                )


def _by_place(pieces: Sequence[Printed]) -> dict[str, str]:
    """What stands where; a place that comes twice is numbered."""
    found: dict[str, str] = {}
    for piece in pieces:
        place, again = piece.place, 1
        while place in found:
            again += 1
            place = f"{piece.place} ({again})"
        found[place] = piece.text
    return found


def _quoted(pieces: dict[str, str], place: str) -> str:
    return f"{pieces[place]!r}" if place in pieces else "missing"
