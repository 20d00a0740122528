"""Tables as CSV, which people open in spreadsheets: no cell of text can be a formula there."""

from __future__ import annotations

from typing import Any

import pandas as pd

_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(table: pd.DataFrame) -> str:
    """A table in full precision, the same bytes on every system.

    A text that a spreadsheet would compute, such as `=1+1`, has an apostrophe before it, in the head
    as well; numbers and a sign by itself stay.
    """
    defused = table.map(_defused).rename(columns=_defused)
    return defused.to_csv(index=False, lineterminator="\n")


def _defused(cell: Any) -> Any:
    if isinstance(cell, str) and len(cell) > 1 and cell.startswith(_BEGINS_FORMULA):
        return f"'{cell}"
    return cell
