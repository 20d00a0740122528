"""Which weights a model has: one hash of every number, whatever format holds them.

A fingerprint is written `ALL-SAMPLED-HALF`. `ALL` is the hash that counts: architecture, names,
shapes and all numbers, each tensor in the narrowest of bfloat16, float16 and float32 that holds it
exactly, so that a bfloat16 checkpoint has one fingerprint in bfloat16 and in float32, on disk and in
memory. The other two are what earlier versions wrote, from 4,096 numbers of each tensor, for files
written then.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

LENGTHS = (32, 16, 16)
_WORTH_KEEPING = 2**26  # bytes of files that take longer to hash than to look up


def same_weights(one: str | None, other: str | None) -> bool:
    """Whether two fingerprints, of this version or an earlier one, are of the same weights."""
    if one is None or other is None:
        return False
    if ("-" in one) == ("-" in other):
        return one.partition("-")[0] == other.partition("-")[0]
    new, old = (one, other) if "-" in one else (other, one)
    return any(old.startswith(part) for part in new.split("-")[1:])


def remembered(architecture: str, files: Sequence[Path], measure: Callable[[], str]) -> str:
    """The fingerprint of a checkpoint, measured once and looked up while its files stay as they are.

    Files are known by place, size and times, the time of change among them, which no one sets at
    will. The notes lie in `steerscope/fingerprints` of the user's cache folder and can be deleted.
    """
    if sum(file.stat().st_size for file in files) < _WORTH_KEEPING:
        return measure()
    state = [architecture, version("transformers")]
    if any(file.suffix == ".bin" for file in files):
        state.append("in float32")  # other notes of them are of whatever format was loaded first
    for file in sorted(files):
        s = file.stat()
        state.append(f"{file.resolve()} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "steerscope" / "fingerprints"
    note = folder / hashlib.sha256("\n".join(state).encode()).hexdigest()
    try:
        found = note.read_text()
    except (OSError, UnicodeDecodeError):
        found = ""
    if [len(part) for part in found.split("-")] == list(LENGTHS):
        return found
    found = measure()
    try:  # a place that cannot be written to costs time only
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "w") as opened:
            opened.write(found)
        os.replace(name, note)
    except OSError:
        pass
    return found
