"""Tables that take long to make, kept on disk until all that is made of them is done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from steerscope.runs.parts import read_part
from steerscope.runs.whole_files import whole_file

UNFINISHED = "unfinished"  # folder of a run, gone once it is sealed

# Called with a table's name and what makes it; gives the table, made now or kept from before.
Keep = Callable[[str, Callable[[], pd.DataFrame]], pd.DataFrame]


def not_kept(name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:  # noqa: ARG001 - as kept
    """The table, made anew."""
    return make()


@dataclass(frozen=True)
class KeptIn:
    """Keeps each table as a file of a folder, there whole or not at all.

    Attributes:
        folder: of one measurement; with other settings the names would mean other tables.
    """

    folder: Path

    def __call__(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The table of that name, made only if it is not there.

        Raises:
            RunError: the disk refused, or the file is damaged.
        """
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            table = make()
            with whole_file(path) as unfinished:
                table.to_parquet(unfinished)
        return read_part(path, "delete it, and the same command makes it again")

    def clear(self) -> None:
        """Forget all tables, once what they were for is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
