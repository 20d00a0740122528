"""Commands stopped by Ctrl-C, killed at any moment, or out of room; counts as JSON.

Run as `python -m tests.runs.interruptions FOLDER TIMES`. As in `crash_points`, of which it takes the
commands, all is imported once and every command is a child of this process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.runs.crash_points import REFUSED, Command, commands, ended, start

STOPPED = 130
_SAID = 2500  # bytes at most


@dataclass(frozen=True)
class Whole:
    """What a command makes when nothing hinders it, and how long that takes."""

    result: object
    seconds: float
    sizes: tuple[int, ...]


def undisturbed(command: Command, folder: Path) -> Whole:
    """The command as it should be."""
    out, began = folder / "whole", time.perf_counter()
    assert ended(start(command, out)) == 0, said_of(out)
    files = [out] if out.is_file() else [p for p in out.rglob("*") if p.is_file()]
    # What the command says goes into a file too, which must fit.
    sizes = sorted(size for size in {p.stat().st_size for p in files} if size > _SAID)
    return Whole(command.result(out), time.perf_counter() - began, tuple(sizes))


def said_of(out: Path) -> str:
    """What the command said."""
    return Path(f"{out}.said").read_text()


def signalled(
    command: Command, folder: Path, whole: Whole, number: int, times: int
) -> Iterator[str]:
    """The command sent a signal at so many moments; what was wrong."""
    for i in range(times):
        out = folder / f"signal-{number}-{i}"
        child = start(command, out)
        time.sleep(whole.seconds * (i + 0.5) / times)
        os.kill(child, number)
        code, said = ended(child), said_of(out)
        wanted = {0, -number} if number == signal.SIGKILL else {0, STOPPED}
        if code not in wanted or (code == STOPPED and "stopped; what is written" not in said):
            yield f"signal {number}, moment {i}: {code} {said[-400:]}"
        yield from again(command, out, whole, f"signal {number}, moment {i}")


def without_room(command: Command, folder: Path, whole: Whole, times: int) -> Iterator[str]:
    """The command on a disk that takes no file beyond a size; what was wrong."""
    step = max(1, len(whole.sizes) // times)
    for size in whole.sizes[::step][:times]:
        out = folder / f"room-{size}"
        child = start(command, out, limit=size - 1)
        code, said = ended(child), said_of(out)
        if code not in (0, REFUSED) or "Traceback" in said:
            yield f"room {size}: {code} {said[-600:]}"
        yield from again(command, out, whole, f"room {size}")


def again(command: Command, out: Path, whole: Whole, when: str) -> Iterator[str]:
    """What is wrong with the result of a second start, which nothing hinders."""
    code, said = ended(start(command, out)), said_of(out)
    if code != 0:
        yield f"{when}: {code} afterwards: {said[-600:]}"
    elif command.result(out) != whole.result:
        yield f"{when}: another result afterwards"
    left = [p for p in out.parent.rglob("*.unfinished") if out.name in str(p)]
    if left:
        yield f"{when}: left {left}"
    shutil.rmtree(out, ignore_errors=True)


def report(folder: Path, times: int) -> dict[str, object]:
    """All commands, so many times in each way."""
    found: dict[str, object] = {}
    for command in commands(folder):
        place = folder / command.name.replace(" ", "-")
        place.mkdir()
        whole = undisturbed(command, place)
        wrong = [
            *signalled(command, place, whole, signal.SIGKILL, times),
            *signalled(command, place, whole, signal.SIGINT, times),
            *without_room(command, place, whole, times),
        ]
        found[command.name] = {
            "killed": times, "interrupted": times, "without room": min(times, len(whole.sizes)),
            "wrong": wrong,
        }  # fmt: skip
        sys.stderr.write(f"{command.name}: {len(wrong)} wrong {wrong}\n")
    return found


if __name__ == "__main__":
    where = Path(sys.argv[1]).resolve()
    where.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(json.dumps(report(where, int(sys.argv[2])), indent=1) + "\n")
