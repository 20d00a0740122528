"""Where something may be written: a new place or one of our own, never an input, never a stranger's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryFile

from steerscope.errors import OutputError
from steerscope.runs.whole_files import write_whole

Own = Callable[
    [Path], bool
]  # whether what is at a place was written by steerscope, as the same kind


def check_file(
    path: str | Path,
    *,
    own: Own,
    inputs: Iterable[str | Path | None] = (),
    force: bool = False,
) -> Path:
    """A file that may be written: it is not there yet, or ours and to be replaced whole.

    Args:
        path: of the file.
        own: whether a file that is there is of the kind that will be written.
        inputs: files and folders that are read; names that are no paths may be among them.
        force: replace a file of any other kind as well, but never an input.

    Raises:
        OutputError: it is an input, a folder, or a file of something else, or none can be made.
    """
    path, inputs = Path(path), list(inputs)
    _refuse_inputs(path, inputs)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; choose another place.")
    if path.exists() and not own(path):
        _refuse_parts_of_inputs(path, inputs)
    if path.exists() and not force and not own(path):
        raise OutputError(
            f"{path} is there and is of something else; choose another name, or replace it with --force."
        )
    check_writable(path.parent, path)
    return path


def check_folder(path: str | Path, *, own: Own, inputs: Iterable[str | Path | None] = ()) -> Path:
    """A folder that may be written: it is not there yet, empty, or one of ours.

    A folder of something else is never written into, nor replaced.

    Args:
        path: of the folder.
        own: whether a folder that is there was written by the same command.
        inputs: as in `check_file`.

    Raises:
        OutputError: it is or holds an input, is a file or a folder of something else, or cannot be
            made.
    """
    path = Path(path)
    _refuse_inputs(path, inputs)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; name a folder to write.")
    if path.is_dir() and any(path.iterdir()) and not own(path):
        raise OutputError(
            f"{path} exists and holds something else; choose a folder that is new or empty."
        )
    check_writable(path)
    return path


def check_apart(*paths: str | Path | None) -> None:
    """Refuse two outputs of one command in one place.

    Raises:
        OutputError: two are the same file.
    """
    places = [Path(p).resolve() for p in paths if p is not None]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise OutputError(f"{place} is named for two outputs; give each a name of its own.")


def check_writable(folder: Path, shown: Path | None = None) -> None:
    """Refuse a place where nothing can be written, before anything is measured for it.

    Args:
        folder: to be written into, or the first of its parents that is there.
        shown: what to name; default the folder.

    Raises:
        OutputError: no file can be made there.
    """
    try:
        there = next(p for p in (folder, *folder.resolve().parents) if p.exists())
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write {shown or folder} ({error.strerror}); choose another place."
        ) from None


def _refuse_inputs(path: Path, inputs: Iterable[str | Path | None]) -> None:
    place = path.resolve()
    for read in _there(inputs):
        if read == place or (place.is_dir() and place in read.parents):
            raise OutputError(
                f"{path} is or holds {read}, which is read; choose another place to write."
            )


def _refuse_parts_of_inputs(path: Path, inputs: Iterable[str | Path | None]) -> None:
    place = path.resolve()
    for read in _there(inputs):
        if read in place.parents:
            raise OutputError(f"{path} is of {read}, which is read; choose another place to write.")


def _there(inputs: Iterable[str | Path | None]) -> list[Path]:
    """The files and folders among the inputs; a bundled name, or one of the hub, is none."""
    return [Path(given).resolve() for given in inputs if given is not None and Path(given).exists()]


MARK = "steerscope.json"  # in a folder that has no other sign of who wrote it


def write_mark(folder: Path, what: str) -> None:
    """Sign a folder as written by steerscope: what it is, and the files that are ours.

    Raises:
        RunError: the disk refused.
    """
    said = {"written_by": "steerscope", "what": what, "files": files_in(folder)}
    write_whole(folder / MARK, json.dumps(said, indent=1) + "\n")


def marked(what: str) -> Own:
    """Tells whether a folder is signed as what it will be again, with nothing of another in it."""

    def own(folder: Path) -> bool:
        try:
            said = json.loads((folder / MARK).read_text(encoding="utf-8"))
            return said["what"] == what and {*files_in(folder)} <= {MARK, *said["files"]}
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return False

    return own


def files_in(folder: Path) -> list[str]:
    """All files of a folder, by their places in it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())
