"""Hashes beside what was measured, so that a number changed afterwards is found and named.

Every part of a run has a seal, written with it: the hash of the file, then a short one of each row.
A finished run has `manifest.json`, with the hash of every file that its page is drawn from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from steerscope.errors import RunError, reason
from steerscope.runs.whole_files import write_whole

MANIFEST = "manifest.json"
_DIGITS = 8  # of a row: a change goes unseen once in four thousand million


@dataclass(frozen=True)
class Seal:
    """The hash of a part and of each of its rows, as they were measured."""

    part: str
    rows: tuple[str, ...]


def file_sha256(path: Path) -> str:
    """Hash of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def row_digests(table: pd.DataFrame) -> tuple[str, ...]:
    """A short hash of each row: of its values in full precision, in the order of the columns."""
    return tuple(
        hashlib.sha256("\x1f".join(map(repr, values)).encode()).hexdigest()[:_DIGITS]
        for values in table.astype(object).itertuples(index=False, name=None)
    )


def seal_path(part: Path) -> Path:
    """Where the seal of a part lies."""
    return part.parent.parent / "seals" / part.parent.name / f"{part.stem}.txt"


def write_seal(part: Path, sha256: str, table: pd.DataFrame) -> None:
    """Seal a part whose bytes have that hash."""
    lines = [sha256, *row_digests(table)]
    write_whole(seal_path(part), "\n".join(lines) + "\n")


def read_seal(part: Path) -> Seal | None:
    """The seal of a part; None for one that was measured before there were seals.

    Raises:
        RunError: the seal is damaged.
    """
    path = seal_path(part)
    if not path.is_file():
        return None
    try:
        first, *rows = path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        raise RunError(f"{path} is damaged, so that nothing vouches for {part.name}.") from None
    return Seal(first, tuple(rows))


def write_manifest(folder: Path, files: Iterable[Path]) -> None:
    """The hash of each of these files of a finished run, by its place in the folder."""
    write_whole(folder / MANIFEST, json.dumps(hashes(folder, files), indent=2) + "\n")


def hashes(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """The hash of each of these files that is there, by its place in the folder."""
    return {p.relative_to(folder).as_posix(): file_sha256(p) for p in sorted(files) if p.is_file()}


def read_manifest(folder: Path) -> dict[str, str]:
    """The hashes that the manifest states.

    Raises:
        RunError: there is no manifest, or it is damaged.
    """
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{folder} has no {MANIFEST}: the run was not finished, or by an older steerscope; run "
            "its command again."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{folder / MANIFEST} is not JSON ({reason(error)}).") from None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise RunError(f"{folder / MANIFEST} is no list of files with their hashes.")
    return found
