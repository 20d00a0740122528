"""Scores that a judge gave, kept by content, so that no text is asked about twice."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from steerscope.errors import RunError

JUDGEMENTS = "judgements.jsonl"  # in the folder of a run
_DIGITS = 32


def content_key(*parts: str) -> str:
    """A key that only the same parts have."""
    told = json.dumps(parts, ensure_ascii=False)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


class Judgements:
    """A file of scores by key, one a line, that only grows; the first score of a key holds.

    A score is NaN where the judge could not tell. A last line that was never finished is dropped.

    Attributes:
        path: the file.
        closed: whether it may only be read, so that nothing new is asked.
    """

    def __init__(self, path: str | Path, *, closed: bool = False) -> None:
        self.path, self.closed = Path(path), closed
        self._scores: dict[str, float] | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._read()

    def get(self, key: str) -> float:
        """The score of a key; NaN where none is kept."""
        return self._read().get(key, math.nan)

    @property
    def scores(self) -> dict[str, float]:
        """All that are kept."""
        return dict(self._read())

    def add(self, scores: Mapping[str, float]) -> None:
        """Append scores, on the disk before this returns.

        Raises:
            RunError: the file is damaged, or the disk refused.
        """
        there = self._read()
        new = {key: score for key, score in scores.items() if key not in there}
        lines = [
            json.dumps({"key": key, "score": None if math.isnan(score) else score}) + "\n"
            for key, score in new.items()
        ]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"cannot write {self.path} ({error.strerror}).") from None
        there |= new

    def _read(self) -> dict[str, float]:
        if self._scores is None:
            self._scores = self._on_disk() if self.path.is_file() else {}
        return self._scores

    def _on_disk(self) -> dict[str, float]:
        try:
            text = self.path.read_text(encoding="utf-8")
            whole, _, torn = text.rpartition("\n")
            found: dict[str, float] = {}
            for line in whole.splitlines():
                row = json.loads(line)
                score = math.nan if row["score"] is None else float(row["score"])
                found.setdefault(str(row["key"]), score)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise RunError(
                f"{self.path} is damaged; delete it, and its texts are judged again."
            ) from None
        if torn and not self.closed:
            with self.path.open("r+b") as file:
                file.truncate(len(f"{whole}\n".encode()) if whole else 0)
        return found
