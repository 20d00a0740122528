"""Whether the files that were printed are those that lie there: none swapped, lost or invented."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from steerscope.errors import RunError
from steerscope.runs.difference import Difference
from steerscope.runs.outputs import files_in
from steerscope.runs.printed import PRINTED, is_printed, read_printed
from steerscope.runs.seals import file_sha256


def check_printed(folder: Path, *, old: bool) -> Iterator[Difference]:
    """Every printed file against the hash that it was printed with.

    Args:
        folder: of a run or an experiment.
        old: whether it may be from before printed files were written down.
    """
    there = [name for name in files_in(folder) if is_printed(name)]
    try:
        stated = read_printed(folder)
    except RunError as error:
        yield Difference(PRINTED, "the record of what was printed", "damaged", str(error))
        return
    if stated is None:
        if there and not old:
            what = "the record of what was printed"
            yield Difference(PRINTED, what, "missing", f"one that names {len(there)} files")
        return
    for name, sha256 in stated.items():
        path = folder / name
        if not path.is_file():
            yield Difference(name, "the file", "missing", f"one with hash {sha256[:16]}")
        elif (now := file_sha256(path)) != sha256:
            yield Difference(name, "the hash of the file", now[:16], f"{sha256[:16]} as printed")
    for name in there:
        if name not in stated and not old:
            yield Difference(name, "the file", "there", "none: it was not printed")
