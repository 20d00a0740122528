"""A run at an address, such as `s3://bucket/run`: a folder here whose files go there as they are done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from steerscope.errors import RunError, reason
from steerscope.runs.outputs import files_in
from steerscope.runs.results import is_content
from steerscope.runs.seals import MANIFEST

_LAST = ("rows", MANIFEST)  # after the texts that they were read from, and after everything
_log = logging.getLogger(__name__)


def is_address(place: str) -> bool:
    """Whether a place is an address of fsspec and not a path."""
    return "://" in place


@dataclass
class Mirror:
    """A folder of this machine, and the address that has the same files.

    Attributes:
        folder: where a run is measured.
        address: where it is kept; the folder itself where there is no other.
    """

    folder: Path
    address: str
    _files: Any = None
    _there: dict[str, tuple[int, int]] = field(default_factory=dict)  # as they were when sent

    def shown(self, path: str | Path) -> str:
        """A path in the folder as it is at the address."""
        if self._files is None:
            return str(path)
        inside = Path(path).relative_to(self.folder).as_posix()
        return self.address if inside == "." else f"{self.address}/{inside}"

    def push(self) -> None:
        """Send what is new or has changed, and delete what is gone; each file is there whole or not.

        Raises:
            RunError: the address refuses.
        """
        if self._files is None:
            return
        here = {name: self._stamp(name) for name in files_in(self.folder) if is_content(name)}
        new = [name for name, stamp in here.items() if self._there.get(name) != stamp]
        gone = [name for name in self._there if name not in here]
        try:
            for name in sorted(new, key=_order):
                self._files.makedirs(self._at(str(PurePosixPath(name).parent)), exist_ok=True)
                with self._files.transaction, self._files.open(self._at(name), "wb") as file:
                    file.write((self.folder / name).read_bytes())
                self._there[name] = here[name]
            for name in gone:
                self._files.rm_file(self._at(name))
                del self._there[name]
        except Exception as error:
            raise RunError(f"cannot write {self.address} ({reason(error)}).") from error

    def pull(self) -> None:
        """Fetch what is there.

        Raises:
            RunError: the address cannot be read.
        """
        root = self._at("")
        try:
            found = self._files.find(root) if self._files.exists(root) else []
            for path in found:
                name = str(PurePosixPath(path).relative_to(root))
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_bytes(self._files.cat_file(path))
                self._there[name] = self._stamp(name)
        except Exception as error:
            raise RunError(f"cannot read {self.address} ({reason(error)}).") from error
        if found:
            _log.info("%d files of %s are here", len(found), self.address)

    def _at(self, name: str) -> str:
        place = self.address if name in ("", ".") else f"{self.address}/{name}"
        return str(self._files._strip_protocol(place))

    def _stamp(self, name: str) -> tuple[int, int]:
        found = (self.folder / name).stat()
        return found.st_mtime_ns, found.st_size


@contextmanager
def mirrored(place: str | Path) -> Iterator[Mirror]:
    """The folder to measure in: the place itself, or for an address of fsspec, one that mirrors it.

    What is at the address is fetched first, so that a run goes on where it was stopped, on whatever
    machine; in the end, also after an error, all that is new is sent. Nothing locks an address: one
    process at a time is to write it.

    Raises:
        RunError: the address cannot be read or written, or there is no such kind of address here.
    """
    if not is_address(str(place)):
        yield Mirror(Path(place), str(place))
        return
    address = str(place).rstrip("/")
    try:
        files = import_module("fsspec").core.url_to_fs(address)[0]
    except (ImportError, ValueError, OSError) as error:
        raise RunError(f"cannot reach {address} ({reason(error)}).") from None
    with TemporaryDirectory(prefix="steerscope-") as root:
        mirror = Mirror(Path(root) / PurePosixPath(address).name, address, files)
        mirror.pull()
        try:
            yield mirror
        finally:
            if mirror.folder.is_dir():
                mirror.push()


def _order(name: str) -> tuple[int, str]:
    first = name.split("/")[0]
    place = _LAST.index(first) + 1 if first in _LAST else 0
    return place, name
