"""Runs: an append-only directory of measured numbers that survives being killed at any moment."""

from __future__ import annotations

import json
import logging
import math
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.errors import RunConflictError, RunError, reason
from steerscope.runs.continuing import differing_settings
from steerscope.runs.judgements import JUDGEMENTS
from steerscope.runs.keeping import UNFINISHED
from steerscope.runs.outputs import check_writable, files_in
from steerscope.runs.ownership import owned, owns
from steerscope.runs.parts import (
    all_parts,
    check_part,
    forget_seal,
    lost_parts,
    parts_in,
    read_part,
    write_part,
)
from steerscope.runs.printed import PRINTED, is_printed
from steerscope.runs.seals import MANIFEST, hashes, read_manifest, write_manifest
from steerscope.runs.shown import Shown
from steerscope.runs.whole_files import UNFINISHED_SUFFIX, clear_unfinished, write_whole

NOT_FINITE, NOT_REACHED, WEIGHTLESS = "not_finite", "not_reached", "weightless"
LOST = (NOT_FINITE, NOT_REACHED)  # nothing was written: the logits overflow, or no dose has the KL
STATUSES = ("ok", "degenerate", "empty", "unread", WEIGHTLESS, *LOST)
RUN, FORMAT_VERSION = "run.json", 2
_KEY = ["cell", "prompt", "split", "metric"]
_TEXT_KEY = ["split", "cell", "prompt"]
_DAMAGED = "delete the folder, and give the run's command again"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One measured number with everything needed to read it.

    Attributes:
        cell: key of the condition, `plain` for the unsteered model.
        kl_nats: measured KL(steered || plain) of this condition on this prompt, mean over positions.
        prompt: number of the prompt or pair within its split.
        status: `ok`; `degenerate` if the text collapsed into repetition; `empty` if there was none;
            `unread` if the judge could not tell; `weightless` if a lens knows words of the text, of
            which every one weighs 0; `not_finite` if logits of its condition are not
            finite, so that the value is NaN.
    """

    cell: str
    concept: str
    method: str
    stream: str
    layer: int
    head: int
    operator: str
    scope: str
    dose_absolute: float
    dose_relative: float
    dose_natural: float
    kl_nats: float
    prompt: int
    split: str
    seed: int
    metric: str
    unit: str
    value: float
    status: str

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What makes two rows the same measurement."""
        return self.cell, self.prompt, self.split, self.metric


COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Row))


def as_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table, as a run stores them."""
    values = attrgetter(*COLUMNS)  # a row is flat; `asdict` would copy every value of it
    return pd.DataFrame([values(r) for r in rows], columns=list(COLUMNS))


def plain_row(metric: str, unit: str, value: float) -> Row:
    """A row of which only the number is said; all else is to be replaced or does not apply."""
    return Row(
        cell="plain",
        concept="",
        method="plain",
        stream="resid_post",
        layer=-1,
        head=-1,
        operator="",
        scope="",
        dose_absolute=math.nan,
        dose_relative=math.nan,
        dose_natural=math.nan,
        kl_nats=math.nan,
        prompt=-1,
        split="test",
        seed=-1,
        metric=metric,
        unit=unit,
        value=value,
        status="ok",
    )


class Run(Shown):
    """A directory with `run.json`, `rows/*.parquet` and whatever is drawn from them.

    Attributes:
        path: the directory.
        configuration: what was asked for; the same to continue, or the run is refused.
    """

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path = path
        self.description = description
        self._seen: dict[tuple[str, int, str, str], float] = {}
        self._indexed: set[str] = set()  # names of the parts that are seen
        self._read: tuple[object, pd.DataFrame] | None = None  # the last table, and of which files

    @property
    def configuration(self) -> dict[str, Any]:
        """What was asked for."""
        return self.description["configuration"]

    @classmethod
    def start(
        cls, path: str | Path, configuration: dict[str, Any], *, provenance: dict[str, Any]
    ) -> Run:
        """A new run, or the one already there if it has the same configuration and model.

        Raises:
            RunError: the directory holds another run, or something else, or a part of the run is
                damaged.
            BusyError: another process is writing it.
        """
        path = check_run_folder(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write {path} ({error.strerror}); choose another.") from None
        description = {
            "format_version": FORMAT_VERSION,
            "configuration": json.loads(json.dumps(configuration)),  # as it will be read back
            "provenance": provenance,
            "command": sys.argv,
        }
        with owned(path, ours=True):
            clear_unfinished(path)
            if has_measured(path):
                return cls.open(path)._continued(description)
            # A run of which nothing is measured yet may as well become another.
            write_whole(path / RUN, json.dumps(description, indent=2) + "\n")
        return cls(path, description)

    def _continued(self, wanted: dict[str, Any]) -> Run:
        """This run, if it is the one that is wanted and nothing in it is damaged."""
        if differing := differing_settings(self.description, wanted):
            raise RunError(
                f"{self.path} holds a run with other settings ({', '.join(differing)}); choose "
                "another directory or delete it."
            )
        for part in all_parts(self.path):
            check_part(part, self.repair)
        if (self.path / MANIFEST).is_file():
            self._reopen()
        return self

    def _reopen(self) -> None:
        """Take back the word that the run is finished, where a part of it was lost."""
        for part in lost_parts(self.path):
            if part.parent.name == "texts":
                raise RunError(f"{part} is lost; delete {self.path} and give {self.command} again.")
            _log.warning("%s is lost; what it held is measured again.", part)
            (self.path / MANIFEST).unlink(missing_ok=True)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run.

        Raises:
            RunError: there is no readable run at that path.
        """
        path = Path(path)
        try:
            description = json.loads((path / RUN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{path} is not a run directory: it has no {RUN}.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path / RUN} is not JSON ({reason(error)}); {_DAMAGED}.") from None
        for name in ("configuration", "provenance"):
            if not isinstance(description, dict) or not isinstance(description.get(name), dict):
                raise RunError(f"{path / RUN} has no {name}; {_DAMAGED}.")
        version = description.get("format_version", 1)
        if version not in range(1, FORMAT_VERSION + 1):
            raise RunError(
                f"{path} is a run of format {version!r:.20}, this steerscope reads up to {FORMAT_VERSION}; "
                "use the steerscope that wrote it or a newer one."
            )
        return cls(path, description)

    @property
    def provenance(self) -> dict[str, Any]:
        """What it was measured with."""
        return self.description["provenance"]

    @property
    def repair(self) -> str:
        """What to do about a part that is damaged, with the command that made the run."""
        return f"delete it and measure its rows again: {self.command}"

    @property
    def command(self) -> str:
        """The command that measures what is missing of the run, as far as it is known."""
        program, *arguments = [str(word) for word in self.description.get("command") or [""]]
        if Path(program).name in {"steerscope", "__main__.py"}:
            return f"`{shlex.join(['steerscope', *arguments])}`"
        return "the call that made the run"

    def append(self, rows: Sequence[Row], texts: Sequence[dict[str, Any]] = ()) -> None:
        """Store rows, and the texts they were read from; rows already there are left out.

        Raises:
            RunConflictError: a measurement is already there with another value.
            BusyError: another process is writing the run.
        """
        self.store(as_table(rows), texts)

    def store(self, rows: pd.DataFrame, texts: Sequence[dict[str, Any]] = ()) -> None:
        """`append` for rows that are a table, as a worker gives them.

        Raises:
            RunConflictError: a measurement is already there with another value.
            BusyError: another process is writing the run.
        """
        with owned(self.path, ours=True):
            seen, new = self._index(), []
            added: dict[tuple[str, int, str, str], float] = {}
            named = zip(*(rows[name] for name in _KEY), strict=True)
            for place, (key, value) in enumerate(zip(named, rows["value"], strict=True)):
                before = seen.get(key, added.get(key))
                if before is None:
                    added[key] = value
                    new.append(place)
                elif not _same(before, value):
                    cell, prompt, split, metric = key
                    raise RunConflictError(
                        f"{metric} of prompt {prompt} ({split}) under {cell} was {before!r} and "
                        f"is now {value!r}; runs are append-only."
                    )
            if not new:
                return
            if texts:  # first, so that no row is without its text
                write_part(self.path / "texts", pd.DataFrame(list(texts)))
            part = write_part(self.path / "rows", rows.iloc[new].reset_index(drop=True))
            self._indexed.add(part.name)
            seen.update(added)  # not before they are on the disk

    def has(self, keys: Iterable[tuple[str, int, str, str]]) -> bool:
        """Whether all these measurements are stored."""
        seen = self._index()
        return all(key in seen for key in keys)

    def table(self) -> pd.DataFrame:
        """All rows, with a leading column `run`, in the order of their keys.

        Raises:
            RunError: the run has no rows yet, or a part is damaged.
        """
        parts = parts_in(self.path, "rows")
        if not parts:
            raise RunError(f"{self.path} has no rows yet; let the run finish.")
        files = [(p, p.stat().st_mtime_ns, p.stat().st_size) for p in parts]
        if self._read is None or self._read[0] != files:
            read = [read_part(p, self.repair, COLUMNS) for p in parts]
            table = pd.concat(read, ignore_index=True)
            table.insert(0, "run", self.path.name)
            table = table.sort_values(_KEY, kind="stable", ignore_index=True)
            self._read = files, table
        return self._read[1].copy()

    def texts(self, more: Sequence[str] = ()) -> pd.DataFrame:
        """What was written, in the order of its keys: cell, prompt, split, given, seen, written.

        `given` is the prompt, `seen` what the model read: the same, but where it is asked in words.

        Args:
            more: columns that texts of this kind of run have besides.

        Raises:
            RunError: a part is damaged.
        """
        columns = [*_TEXT_KEY, "given", "written", *more]
        parts = [read_part(p, self.repair, columns, ["seen"]) for p in parts_in(self.path, "texts")]
        found = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
        found = found.drop_duplicates(_TEXT_KEY)
        seen = found["seen"].fillna(found.given) if "seen" in found else found.given
        found = found[[*_TEXT_KEY, "given", *more]].assign(seen=seen, written=found.written)
        return found.sort_values(_TEXT_KEY, kind="stable", ignore_index=True)

    def seal(self) -> None:
        """Write the manifest of a finished run: hashes of all that its page is drawn from.

        Raises:
            RunError: a part that was measured is lost; the message has the command that measures it again.
        """
        with owned(self.path, ours=True):
            lost = lost_parts(self.path)
            if lost and (self.path / MANIFEST).is_file():
                raise RunError(f"{lost[0]} is lost; give {self.command} again to measure its rows.")
            for part in lost:  # never finished, or measured again
                forget_seal(part)
            write_manifest(self.path, measured_files(self.path))

    def vouch(self, *added: Path) -> None:
        """Add files that were written later to the manifest, where the run has one."""
        with owned(self.path, ours=True):
            if (self.path / MANIFEST).is_file():
                stated = read_manifest(self.path) | hashes(self.path, added)
                write_whole(self.path / MANIFEST, json.dumps(stated, indent=2) + "\n")

    def _index(self) -> dict[tuple[str, int, str, str], float]:
        for part in parts_in(self.path, "rows"):
            if part.name not in self._indexed:
                self._indexed.add(part.name)
                rows = read_part(part, self.repair, [*_KEY, "value"])
                for *key, value in rows.itertuples(index=False):
                    cell, prompt, split, metric = key
                    self._seen[cell, prompt, split, metric] = value
        return self._seen


def check_run_folder(path: str | Path) -> Path:
    """Refuse a place where there is something else than a run, before anything is measured; the place.

    Raises:
        RunError: there is.
        OutputError: nothing can be written there.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file and not a run; choose another directory.")
    there = [] if (path / RUN).is_file() or not path.is_dir() else files_in(path)
    if any(is_content(name) for name in there if name != JUDGEMENTS):
        raise RunError(f"{path} exists and is not a run; choose another directory.")
    check_writable(path)
    return path


@contextmanager
def measuring(path: str | Path) -> Iterator[Path]:
    """Own the folder of a run while it is measured; the folder.

    A folder that was not there before, and in which nothing was measured or judged, is gone if it
    fails.

    Raises:
        BusyError: another process is writing it.
    """
    path = Path(path)
    new = not path.exists()
    with owned(path):
        try:
            yield path
        except BaseException:
            kept = has_measured(path) or (path / JUDGEMENTS).is_file()
            if new and owns(path) and not kept:
                shutil.rmtree(path, ignore_errors=True)
            raise


def measured_files(path: Path) -> list[Path]:
    """The files of a run but for what is printed from them, and what comes and goes."""
    aside = {MANIFEST, PRINTED}
    return [
        path / name
        for name in files_in(path)
        if is_content(name) and name not in aside and not is_printed(name)
    ]


def is_content(name: str) -> bool:
    """Whether a file, by its place in a folder of ours, is more than what comes and goes."""
    parts = name.split("/")
    return not (
        name.endswith(UNFINISHED_SUFFIX)
        or parts[0] == UNFINISHED
        or any(part.startswith(".") for part in parts)
    )


def has_measured(path: Path) -> bool:
    """Whether anything that took time is in the folder of a run, or was."""
    kept = any((path / UNFINISHED).rglob("*.parquet"))
    return kept or bool(lost_parts(path)) or any(True for _ in all_parts(path))


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))
