"""Whether pages, figures and tables say what the rows give."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from steerscope.errors import reason
from steerscope.figures.files import Plate, figure_numbers, figure_page
from steerscope.figures.looks import THEMES, caption_of, captioned, parse_look
from steerscope.runs.difference import Difference
from steerscope.verification.pages import Printed, bare, printed

_LONG = 240  # characters: of a longer text the part that differs is shown


def compare_pages(
    where: str, stored: str, expected: str, *, whole: bool = True
) -> tuple[int, list[Difference]]:
    """How much is printed on a page, and what of it the rows do not give.

    Args:
        where: the page, in words.
        stored: as it is there.
        expected: as the rows give it.
        whole: whether the page must be the same in all else too; not so for one that an older
            steerscope drew.
    """
    wanted = _by_place(printed(expected))
    if stored == expected or bare(stored) == bare(expected):
        return len(wanted), []
    try:
        there = _by_place(printed(stored))
    except Exception as error:  # noqa: BLE001 - what was altered may fail anywhere in the reading
        said = f"unreadable ({reason(error)[:80]})"
        return len(wanted), [Difference(where, "the page", said, "what the rows give")]
    found = [
        Difference(f"{where}, {place}", "what it prints", *_quoted(there, wanted, place))
        for place in dict.fromkeys([*wanted, *there])
        if there.get(place) != wanted.get(place)
    ]
    if whole and not found:
        found.append(Difference(where, *_first_difference(bare(stored), bare(expected))))
    return len(wanted), found


def _first_difference(stored: str, expected: str) -> tuple[str, str, str]:
    """What differs between two pages of the same words and numbers: the place, and both pieces."""
    start = next((i for i, (a, b) in enumerate(zip(stored, expected, strict=False)) if a != b), 0)
    line = stored.count("\n", 0, start) + 1
    here = slice(max(0, start - 20), start + 40)
    return f"line {line}", repr(stored[here]), repr(expected[here])


def compare_figures(
    folder: Path, plates: Sequence[Plate], *, whole: bool = True
) -> tuple[int, list[Difference]]:
    """How much the figures of a folder draw, and what of it the rows do not give.

    Pictures cannot be read back: that they are those that were drawn is told by their hashes.

    Args:
        folder: of the figures.
        plates: those that the rows give.
        whole: as in `compare_pages`.
    """
    count = 0
    found: list[Difference] = []
    for plate in plates:
        path, where = folder / f"{plate.name}.html", f"{folder.name}/{plate.name}.html"
        if path.is_file():
            stored = path.read_text(encoding="utf-8", errors="replace")
            n, differing = compare_pages(where, stored, _in_its_look(stored, plate), whole=whole)
            count, found = count + n, found + differing
        texts = {f"{plate.name}.csv": figure_numbers(plate), f"{plate.name}.txt": _caption(plate)}
        there = {name: text for name, text in texts.items() if (folder / name).is_file()}
        n, differing = compare_tables(folder, there)
        count, found = count + n, found + differing
    names = {plate.name for plate in plates}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.stem not in names or path.parent != folder:
            place = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            found.append(Difference(place, "the figure", "there", "none that the rows give"))
    return count, found


def _in_its_look(stored: str, plate: Plate) -> str:
    """The page of a figure in the look in which it is there; on a screen if it is in none."""
    pages = (
        figure_page(plate, parse_look(theme, columns, title=title))
        for theme in THEMES
        for columns in (None, 1, 2)
        for title in (True, False)
    )
    first = next(pages)
    return first if first == stored else next((page for page in pages if page == stored), first)


def _caption(plate: Plate) -> str:
    return caption_of(captioned(plate.figure, plate.whole_caption)) + "\n"


def compare_tables(folder: Path, expected: dict[str, str]) -> tuple[int, list[Difference]]:
    """How many cells the tables have, and which the rows do not give; a missing table is one.

    Tables that the rows do not give are `strange_tables`.

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


def strange_tables(folder: Path, expected: Collection[str]) -> list[Difference]:
    """The files of a folder of tables that the rows do not give."""
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
    return [
        Difference(f"{folder.name}/{name}", "the table", "there", "none that the rows give")
        for name in names
        if name not in expected
    ]


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


def _quoted(there: dict[str, str], wanted: dict[str, str], place: str) -> tuple[str, str]:
    """What is printed at a place and what the rows give; of long texts the part where they differ."""
    one, other = there.get(place), wanted.get(place)
    if one is None or other is None:
        found = ["missing" if text is None else repr(_begun(text)) for text in (one, other)]
        return found[0], found[1]
    if max(len(one), len(other)) <= _LONG:
        return repr(one), repr(other)
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    here = slice(max(0, start - _LONG // 4), start + _LONG // 2)
    return f"... {one[here]!r} ...", f"... {other[here]!r} ..."


def _begun(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]} ..."
