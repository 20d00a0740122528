"""Texts that were written and are not judged yet, kept until they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.engine.continuations import Continuation
from steerscope.runs.judgements import content_key
from steerscope.runs.keeping import UNFINISHED, KeptIn

_FOLDER = "written"
Written = list[list[Continuation]]  # a list for each condition, a text for each prompt


@dataclass(frozen=True)
class Unjudged:
    """Keeps what a model wrote, so that a judge that fails has it judged again and not written again.

    Attributes:
        run: folder of the run.
    """

    run: Path

    @property
    def _kept(self) -> KeptIn:
        return KeptIn(self.run / UNFINISHED / _FOLDER)

    def __call__(self, asked: Sequence[object], write: Callable[[], Written]) -> Written:
        """The texts, written now or kept from before.

        Args:
            asked: all that decides them.
            write: writes them.
        """
        name = content_key(*map(str, asked))
        table = self._kept(name, lambda: as_table(write()))
        return from_table(table)

    def clear(self) -> None:
        """Forget them, once each has its rows."""
        self._kept.clear()
        with suppress(OSError):  # not there, or others keep something in it
            self._kept.folder.parent.rmdir()


def from_table(table: pd.DataFrame) -> Written:
    """The texts of `as_table`."""
    return [[_continuation(text) for text in json.loads(texts)] for texts in table.written]


def as_table(written: Written) -> pd.DataFrame:
    """One row for each condition."""
    return pd.DataFrame({"written": [json.dumps(list(map(asdict, texts))) for texts in written]})


def _continuation(fields: dict[str, Any]) -> Continuation:
    return Continuation(**fields | {"tokens": tuple(fields["tokens"])})
