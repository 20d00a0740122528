"""Whether rows, texts and files are as they were measured, by their seals and the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.errors import RunError, reason
from steerscope.runs.difference import Difference
from steerscope.runs.parts import all_parts, lost_parts
from steerscope.runs.results import Run, measured_files
from steerscope.runs.seals import MANIFEST, file_sha256, read_manifest, read_seal, row_digests

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
    for part in all_parts(run.path):
        try:
            table = pd.read_parquet(part)
            n_rows += len(table)
            found += _against_seal(run, part, table)
        except RunError as error:
            found.append(Difference(_place(run, part), "its seal", "unreadable", str(error)))
        except Exception as error:  # noqa: BLE001 - a damaged file fails anywhere in the reader
            place, expected = _place(run, part), f"rows; {run.repair}"
            found.append(
                Difference(place, "the part", f"unreadable ({reason(error)[:80]})", expected)
            )
    for part in lost_parts(run.path):
        found.append(
            Difference(_place(run, part), "the part", "missing", "one, since it has a seal")
        )
    try:
        stated = read_manifest(run.path)
    except RunError as error:
        found.append(Difference(MANIFEST, "the manifest", "not usable", str(error)))
        return Records(n_rows, 0, tuple(found))
    named = {d.where for d in found if d.stored == "missing"}
    found += [d for d in _against_manifest(run, stated) if d.where not in named]
    return Records(n_rows, len(stated), tuple(found))


def check_measured(run: Run) -> None:
    """Refuse a run that is not as it was measured; one that is not finished may be so.

    Raises:
        RunError: something in it differs; the message names the first thing.
    """
    found = altered(run)
    if found:
        raise RunError(
            f"{run.path} is not as it was measured: {found[0]}; `steerscope verify` names all "
            f"{len(found)} of what differs."
            if len(found) > 1
            else f"{run.path} is not as it was measured: {found[0]}."
        )


def altered(run: Run) -> tuple[Difference, ...]:
    """What in a run is not as it was measured; that it is not finished does not count."""
    unfinished = not (run.path / MANIFEST).exists()
    seals = (run.path / "seals").is_dir()
    return tuple(
        d
        for d in check_records(run).differences
        if not (unfinished and (d.where == MANIFEST or d.stored == "missing"))
        and not (d.what == "its seal" and d.stored == "missing" and not seals)
    )


def _place(run: Run, path: Path) -> str:
    return path.relative_to(run.path).as_posix()


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
    old = run.description.get("format_version", 1) == 1
    for path in measured_files(run.path):
        name = _place(run, path)
        if name not in stated and not (old and _was_not_stated(name)):
            what = "the part" if name.endswith(".parquet") else "the file"
            yield Difference(name, what, "there", "none, by the manifest")


def _was_not_stated(name: str) -> bool:
    """Files that runs had before their manifest named all of them."""
    return name == "descriptions.json" or name.startswith("sae/")
