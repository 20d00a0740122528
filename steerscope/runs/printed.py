"""What was printed of a run or an experiment: pages, figures and tables, each with its hash.

Numbers and sentences can be computed again from the rows; a picture cannot, and a figure that nobody
drew has nothing to be compared with. So each file is written down when it is printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from steerscope.errors import RunError, reason
from steerscope.runs.ownership import owned
from steerscope.runs.seals import hashes
from steerscope.runs.whole_files import write_whole

PRINTED = "printed.json"
PLACES = ("report.html", "figures", "tables")


def is_printed(name: str) -> bool:
    """Whether a file of a run or an experiment, by its place in the folder, is printed of it."""
    return name.split("/")[0] in PLACES


def record_printed(folder: Path, files: Iterable[Path]) -> None:
    """Write down that these files were printed, beside those that were printed before.

    Raises:
        BusyError: another process is writing there.
        RunError: the disk refused.
    """
    with owned(folder, ours=True):
        try:
            before = read_printed(folder) or {}
        except RunError:  # it is written anew; verify has no word for what was there before
            before = {}
        now = hashes(folder, files)
        kept = {name: sha256 for name, sha256 in before.items() if (folder / name).is_file()}
        write_whole(
            folder / PRINTED, json.dumps(dict(sorted((kept | now).items())), indent=1) + "\n"
        )


def replace_printed(folder: Path, files: Iterable[Path]) -> None:
    """Write down that these files were printed, and delete those that were printed before instead.

    Raises:
        BusyError: another process is writing there.
        RunError: the disk refused.
    """
    files = list(files)
    with owned(folder, ours=True):
        try:
            before = read_printed(folder) or {}
        except RunError:
            before = {}
        for name in before.keys() - {path.relative_to(folder).as_posix() for path in files}:
            (folder / name).unlink(missing_ok=True)
        record_printed(folder, files)


def read_printed(folder: Path) -> dict[str, str] | None:
    """The hash of each printed file; None for a folder that was printed before they were kept.

    Raises:
        RunError: the record is damaged.
    """
    try:
        found = json.loads((folder / PRINTED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{folder / PRINTED} is damaged ({reason(error)}); `steerscope figures` prints anew."
        ) from None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise RunError(f"{folder / PRINTED} is no list of files; `steerscope figures` prints anew.")
    return found
