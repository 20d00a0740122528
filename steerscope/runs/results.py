"""Runs: an append-only directory of measured numbers that survives being killed at any moment."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.errors import RunConflictError, RunError
from steerscope.models.fingerprints import same_weights
from steerscope.runs.seals import write_manifest, write_seal
from steerscope.runs.whole_files import whole_file, write_whole

NOT_FINITE = "not_finite"
STATUSES = ("ok", "degenerate", "empty", "unread", NOT_FINITE)
_KEY = ["cell", "prompt", "split", "metric"]


@dataclass(frozen=True)
class Row:
    """One measured number with everything needed to read it.

    Attributes:
        cell: key of the condition, `plain` for the unsteered model.
        kl_nats: measured KL(steered || plain) of this condition on this prompt, mean over positions.
        prompt: number of the prompt or pair within its split.
        status: `ok`; `degenerate` if the text collapsed into repetition; `empty` if there was none;
            `unread` if the judge could not tell; `not_finite` if the logits of its condition held a
            NaN or an infinity, so that the value is NaN.
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


class Run:
    """A directory with `run.json`, `rows/*.parquet` and whatever is drawn from them.

    Attributes:
        path: the directory.
        configuration: what was asked for; the same to continue, or the run is refused.
    """

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path = path
        self.description = description
        self._seen: dict[tuple[str, int, str, str], float] | None = None

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
            RunError: the directory holds another run, or something else.
        """
        path = Path(path)
        wanted = json.loads(json.dumps(configuration))  # as it will be read back
        if (path / "run.json").is_file():
            run = cls.open(path)
            differing = sorted(
                k
                for k in {*wanted, *run.configuration}
                if wanted.get(k) != run.configuration.get(k)
            )
            before, now = (
                p.get("fingerprint") for p in (run.description["provenance"], provenance)
            )
            if before != now and not same_weights(before, now):
                differing.append("model weights")
            if differing:
                raise RunError(
                    f"{path} holds a run with other settings ({', '.join(differing)}); choose "
                    "another directory or delete it."
                )
            return run
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path} exists and is not a run; choose another directory.")
        (path / "rows").mkdir(parents=True, exist_ok=True)
        description = {
            "format_version": 1,
            "configuration": wanted,
            "provenance": provenance,
            "command": sys.argv,
        }
        write_whole(path / "run.json", json.dumps(description, indent=2) + "\n")
        return cls(path, description)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run.

        Raises:
            RunError: there is no readable run at that path.
        """
        path = Path(path)
        try:
            description = json.loads((path / "run.json").read_text())
        except FileNotFoundError:
            raise RunError(f"{path} is not a run directory: it has no run.json.") from None
        except json.JSONDecodeError as error:
            raise RunError(f"{path / 'run.json'} is not JSON ({error.msg}).") from None
        return cls(path, description)

    def append(self, rows: Sequence[Row], texts: Sequence[dict[str, Any]] = ()) -> None:
        """Store rows, and the texts they were read from; rows already there are left out.

        Raises:
            RunConflictError: a measurement is already there with another value.
        """
        seen = self._index()
        new: list[Row] = []
        for row in rows:
            if row.key not in seen:
                seen[row.key] = row.value
                new.append(row)
            elif not _same(seen[row.key], row.value):
                raise RunConflictError(
                    f"{row.metric} of prompt {row.prompt} ({row.split}) under {row.cell} was "
                    f"{seen[row.key]!r} and is now {row.value!r}; runs are append-only."
                )
        if not new:
            return
        if texts:  # first, so that no row is without its text
            _write_part(self.path / "texts", pd.DataFrame(list(texts)))
        rows_found = pd.DataFrame([asdict(r) for r in new], columns=list(COLUMNS))
        _write_part(self.path / "rows", rows_found)

    def has(self, keys: Iterable[tuple[str, int, str, str]]) -> bool:
        """Whether all these measurements are stored."""
        seen = self._index()
        return all(key in seen for key in keys)

    def table(self) -> pd.DataFrame:
        """All rows, with a leading column `run`, in the order of their keys.

        Raises:
            RunError: the run has no rows yet.
        """
        parts = sorted((self.path / "rows").glob("*.parquet"))
        if not parts:
            raise RunError(f"{self.path} has no rows yet; let the run finish.")
        table = pd.concat([pd.read_parquet(p) for p in parts], ignore_index=True)
        table.insert(0, "run", self.path.name)
        return table.sort_values(_KEY, kind="stable", ignore_index=True)

    def texts(self) -> pd.DataFrame:
        """What was written: cell, prompt, split, given, written."""
        parts = [pd.read_parquet(p) for p in sorted((self.path / "texts").glob("*.parquet"))]
        columns = ["cell", "prompt", "split", "given", "written"]
        found = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
        return found.drop_duplicates(["cell", "prompt", "split"], ignore_index=True)

    def seal(self) -> None:
        """Write the manifest of a finished run: hashes of what its page is drawn from."""
        parts = [p for name in ("rows", "texts", "seals") for p in self.path.glob(f"{name}/**/*.*")]
        beside = [
            self.path / name
            for name in ("run.json", "directions.safetensors", "lens.json", "roles.json")
        ]
        write_manifest(self.path, [*beside, *parts])

    def _index(self) -> dict[tuple[str, int, str, str], float]:
        if self._seen is None:
            self._seen = {}
            for part in sorted((self.path / "rows").glob("*.parquet")):
                rows = pd.read_parquet(part, columns=[*_KEY, "value"])
                self._seen.update(
                    {
                        key: value
                        for *key_parts, value in rows.itertuples(index=False)
                        for key in [tuple(key_parts)]
                    }
                )
        return self._seen


def _write_part(folder: Path, table: pd.DataFrame) -> None:
    folder.mkdir(exist_ok=True)
    part = folder / f"{len(list(folder.glob('*.parquet'))):05d}.parquet"
    with whole_file(part) as unfinished:
        table.to_parquet(unfinished)
        write_seal(part, unfinished, table)  # first, so that no part is without its seal


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))
