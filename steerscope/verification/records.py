"""Whether rows, texts and files are as they were measured, by their seals and the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.errors import RunError, reason
from steerscope.runs.results import Run
from steerscope.runs.seals import file_sha256, read_manifest, read_seal, row_digests
from steerscope.verification.difference import Difference

_KEY = ("cell", "prompt", "split", "metric")


@dataclass(frozen=True)
class Records:
    """What was compared, and what differs."""

    n_rows: int
    n_files: int
    differences: tuple[Difference, ...]


def check_records(run: Run) -> Records:
    """Every part against its seal, row by row, and every file against the manifest."""
    found: list[Difference] = []
    n_rows = 0
    for kind in ("rows", "texts"):
        for part in sorted((run.path / kind).glob("*.parquet")):
            try:
                table = pd.read_parquet(part)
            except (OSError, ValueError) as error:
                place = _place(run, part)
                found.append(Difference(place, "the part", "unreadable", reason(error)[:80]))
                continue
            n_rows += len(table)
            found += _against_seal(run, part, table)
    stated: dict[str, str] = {}
    try:
        stated = read_manifest(run.path)
    except RunError as error:
        found.append(Difference("manifest.json", "the manifest", "not usable", str(error)))
    found += _against_manifest(run, stated) if stated else []
    return Records(n_rows, len(stated), tuple(found))


def _place(run: Run, path: Path) -> str:
    return str(path.relative_to(run.path))


def _against_seal(run: Run, part: Path, table: pd.DataFrame) -> Iterator[Difference]:
    place, seal = _place(run, part), read_seal(part)
    if seal is None:
        yield Difference(place, "its seal", "missing", "one, written with the part")
        return
    if seal.part == file_sha256(part):
        return
    digests = row_digests(table)
    if len(digests) != len(seal.rows):
        yield Difference(place, "the number of rows", str(len(digests)), str(len(seal.rows)))
        return
    changed = [
        i for i, pair in enumerate(zip(digests, seal.rows, strict=True)) if len(set(pair)) > 1
    ]
    for i in changed:
        yield _row(place, table, i, seal.rows[i])
    if not changed:
        yield Difference(place, "the file", "other bytes with the same rows", seal.part[:16])


def _row(place: str, table: pd.DataFrame, number: int, digest: str) -> Difference:
    """Which measurement was changed, and what it was where one can tell."""
    row = table.iloc[number]
    if "metric" not in table:
        what = f"the text of prompt {row.prompt} ({row.split}) under {row.cell}"
        return Difference(f"{place}, row {number}", what, "changed", f"one with hash {digest}")
    key = dict(zip(_KEY, row[list(_KEY)], strict=True))
    what = f"{key['metric']} of prompt {key['prompt']} ({key['split']}) under {key['cell']}"
    was = _value_before(table, number, digest)
    expected = f"a row with hash {digest}" if was is None else f"{was!r} by its hash {digest}"
    return Difference(f"{place}, row {number}", what, repr(float(row.value)), expected)


def _value_before(table: pd.DataFrame, number: int, digest: str) -> Any:
    """The value that gives the row its hash again, if another row of that metric has it too."""
    same = table[table.metric == table.metric.iloc[number]]
    for value in (*same.value.unique().tolist(), 0.0, 1.0):
        tried = table.iloc[[number]].assign(value=value)
        if row_digests(tried) == (digest,):
            return value
    return None


def _against_manifest(run: Run, stated: dict[str, str]) -> Iterator[Difference]:
    for name, sha256 in stated.items():
        path = run.path / name
        if not path.is_file():
            yield Difference(name, "the file", "missing", f"one with hash {sha256[:16]}")
        elif (now := file_sha256(path)) != sha256:
            yield Difference(name, "the hash of the file", now[:16], sha256[:16])
    for kind in ("rows", "texts"):
        for part in sorted((run.path / kind).glob("*.parquet")):
            if _place(run, part) not in stated:
                yield Difference(_place(run, part), "the part", "there", "none, by the manifest")
