"""Parts of a run: tables on disk, each named by its content and with its seal."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from steerscope.errors import RunError, reason
from steerscope.runs.seals import file_sha256, read_seal, seal_path, write_seal
from steerscope.runs.whole_files import whole_file

KINDS = ("rows", "texts")
_DIGITS = 16


def parts_in(run: Path, kind: str) -> list[Path]:
    """The parts of one kind that a run has."""
    return sorted((run / kind).glob("*.parquet"))


def all_parts(run: Path) -> Iterator[Path]:
    """The parts of every kind."""
    for kind in KINDS:
        yield from parts_in(run, kind)


def write_part(folder: Path, table: pd.DataFrame) -> Path:
    """Write a table under a name that is the hash of its bytes, so that no part replaces another.

    Raises:
        RunError: the disk refused.
    """
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    part = folder / f"{sha256[:_DIGITS]}.parquet"
    write_seal(part, sha256, table)  # first, so that no part is without its seal
    with whole_file(part) as unfinished:
        unfinished.write_bytes(buffer.getvalue())
    return part


def read_part(
    part: Path, repair: str, columns: Sequence[str] | None = None, also: Sequence[str] = ()
) -> pd.DataFrame:
    """The table of a part.

    Args:
        part: the file.
        repair: what to do if it cannot be read.
        columns: to be read; None for all.
        also: columns to be read where the part has them.

    Raises:
        RunError: it is damaged.
    """
    try:
        if columns is None or not also:
            return pd.read_parquet(part, columns=None if columns is None else [*columns])
        table = pd.read_parquet(part)
        return table[[*columns, *(name for name in also if name in table)]]
    except Exception as error:  # noqa: BLE001 - a damaged file fails anywhere inside the reader
        raise RunError(f"{part} cannot be read ({reason(error)[:80]}); {repair}.") from None


def check_part(part: Path, repair: str) -> None:
    """Refuse a part that is not as it was measured, or of which nobody knows.

    Raises:
        RunError: its bytes are others than its seal says, or it has no seal while others do.
    """
    seal = read_seal(part)
    if seal is None:
        if (part.parent.parent / "seals").is_dir():
            raise RunError(
                f"{part} is no part of this run, since it has no seal; move it elsewhere."
            )
        return
    if seal.part != file_sha256(part):
        raise RunError(f"{part} is not as it was measured; {repair}.")


def lost_parts(run: Path) -> list[Path]:
    """The parts that have a seal and are not there."""
    seals = (seal for kind in KINDS for seal in sorted((run / "seals" / kind).glob("*.txt")))
    parts = (run / seal.parent.name / f"{seal.stem}.parquet" for seal in seals)
    return [part for part in parts if not part.is_file()]


def forget_seal(part: Path) -> None:
    """Delete the seal of a part that was never finished, or was lost and measured again."""
    seal_path(part).unlink(missing_ok=True)
