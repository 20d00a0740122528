"""Run every bad input in this process, and count what became of them.

`python -m tests.attacks [PART] [--of N]`: all cases, or those whose number leaves PART over N.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

from steerscope.cli import main
from steerscope.models import loading
from steerscope.models.lens_model import LensModel
from tests.attacks.cases import Case, all_bases, all_cases
from tests.attacks.places import make_good

LONGEST_S = 60
LONGEST = 600  # characters of a line that lists the known names, and repeats what was given
RIGHT = "refused"


@dataclass(frozen=True)
class Outcome:
    """What a call did: its kind, its exit code, and what it said on standard error."""

    kind: str
    code: int
    said: str


def call(*arguments: object) -> tuple[int, str]:
    """Exit code and standard error of a command run here."""
    code, _, said = _call(*arguments)
    return code, said


def _call(*arguments: object) -> tuple[int, str, str]:
    """The same with standard output, the result, in the middle."""
    code, result, errors = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(result), contextlib.redirect_stderr(errors):
        try:
            main([str(a) for a in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, result.getvalue(), errors.getvalue()


def attack(case: Case, inside: Path) -> Outcome:
    """What became of a case that should be refused with one line, nothing written.

    Args:
        case: what is called.
        inside: the folder of bad files; what a case has left is removed there and nowhere else.
    """
    before = _there(case.out)
    with _at_most(LONGEST_S):
        try:
            code, result, said = _call(*case.arguments)
        except _TooLongError:
            return Outcome("took too long", -1, "")
    after = _there(case.out)
    _remove(case.out, inside)
    lines = said.strip().splitlines()
    if code not in (0, 2) or "Traceback" in said:
        kind = "traceback"
    elif code == 0:  # an audit prints that a run was altered as its result
        kind = RIGHT if "see `steerscope verify`" in result.lower() else "accepted"
    elif after != before:
        kind = "half made"
    elif case.arguments[0] == "verify" and not lines:
        kind = RIGHT  # it prints what differs as its result
    elif not lines or not lines[-1].startswith(("error: ", "{")) or len(lines[-1]) > LONGEST:
        kind = "badly said"
    else:
        kind = RIGHT
    return Outcome(kind, code, lines[-1] if lines else "")


def _there(out: Path | None) -> frozenset[str]:
    """What exists of an output."""
    with contextlib.suppress(OSError):
        if out is not None and out.exists():
            return frozenset(str(p) for p in (out, *out.rglob("*")))
    return frozenset()


def _remove(out: Path | None, inside: Path) -> None:
    with contextlib.suppress(OSError):
        if out is None or inside.resolve() not in out.resolve().parents:
            return
        if out.is_dir():
            shutil.rmtree(out)
        else:
            out.unlink(missing_ok=True)


class _TooLongError(BaseException):
    """Not an `Exception`, which the command would report as a fault of its own."""


@contextlib.contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise _TooLongError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _load_once() -> None:
    """Keep models that were loaded, since most cases fail after the same one."""
    load = loading.load_model
    kept: dict[str, LensModel] = {}

    def load_model(*named: Any, **asked: Any) -> LensModel:
        key = repr((named, sorted(asked.items())))
        if asked.get("memory") is not None or key not in kept:
            kept[key] = load(*named, **asked)
        return kept[key]

    loading.load_model = load_model


def run() -> int:
    """Attack, print the counts and every case that went wrong; 1 if any did."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("part", nargs="?", type=int, default=0)
    asked.add_argument("--of", type=int, default=1)
    asked.add_argument("--only", default="", help="a command, such as 'sae train'")
    asked.add_argument("--log", type=lambda p: Path(p).resolve(), help="JSON lines of all outcomes")
    given = asked.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        good = make_good(Path(folder), call)
        _load_once()
        bad = Path(folder) / "bad"
        bad.mkdir()
        os.chdir(bad)  # what a case writes beside itself lies there
        cases = [c for i, c in enumerate(all_cases(good, bad)) if i % given.of == given.part]
        cases = [c for c in cases if " ".join(c.arguments).startswith(given.only)]
        kept = {p: p.read_bytes() for p in good.files if bad not in p.parents}
        for case in all_bases(good, bad):
            if " ".join(case.arguments).startswith(given.only):
                code, said = call(*case.arguments)
                _remove(case.out, bad)
                if code:  # then no refusal of a change of it says anything
                    counts["refused though good"] += 1
                    _tell(case, Outcome("refused though good", code, said), 0.0, given.log)
        for case in cases:
            started = time.perf_counter()
            outcome = attack(case, bad)
            counts[outcome.kind] += 1
            _tell(case, outcome, time.perf_counter() - started, given.log)
        lost = [p for p, content in kept.items() if not p.is_file() or p.read_bytes() != content]
    sys.stdout.write(f"{sum(counts.values()):,} bad inputs: {dict(counts)}; changed: {lost}\n")
    return int(set(counts) > {RIGHT} or bool(lost))


def _tell(case: Case, outcome: Outcome, seconds: float, log: Path | None) -> None:
    """Print a case that went wrong, and log any."""
    shown = [a if len(a) < 80 else f"{a[:60]}..." for a in case.arguments]
    if outcome.kind != RIGHT:
        words = ascii(" ".join(shown))
        sys.stdout.write(f"{outcome.kind}: {words}\n    {outcome.said[:300]}\n")
        sys.stdout.flush()
    if log is not None:
        with log.open("a") as file:
            row = {"arguments": shown, "seconds": seconds, **asdict(outcome)}
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    sys.exit(run())
