"""Conditions under which logits were not finite: of what is left of them nothing can be told."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from steerscope.runs.results import NOT_FINITE


def as_far_as_known(rows: pd.DataFrame, by: Sequence[str] = ("cell",)) -> pd.DataFrame:
    """The rows of a run, without the numbers of every condition of which an item overflowed.

    The other items of it are those that the overflow left, so that their mean is not that of the condition.

    Args:
        rows: as `Run.table` gives them.
        by: columns that name a condition where it was measured.
    """
    is_lost = rows.status.eq(NOT_FINITE)
    lost = is_lost.groupby([rows[name] for name in by], observed=True).transform("any")
    return rows.assign(value=rows.value.mask(lost))


def lost_cells(rows: pd.DataFrame) -> list[str]:
    """The conditions of which an item overflowed, in the order of the rows."""
    return list(dict.fromkeys(map(str, rows.cell[rows.status == NOT_FINITE])))


def lost_nulls_in_words(n: int, *, or_else: str = "") -> str:
    """What null directions beside those that are known count as; empty for none.

    Args:
        n: how many there are.
        or_else: why else nothing may be known of one, beside logits that are not finite.
    """
    if not n:
        return ""
    why = f"whose logits are not finite{f' or which {or_else}' if or_else else ''}"
    return f"{n} more, {why}, count{'s' * (n == 1)} as at least as good"


def lost_among(
    rows: pd.DataFrame, by: Sequence[str] = ("cell",)
) -> dict[tuple[str, ...], tuple[int, int]]:
    """Of every condition of which items overflowed, how many of its items did, and how many it has."""
    found = {}
    for key, mine in rows.groupby(list(by), sort=False, observed=True):
        lost = mine[mine.status == NOT_FINITE].prompt.nunique()
        if lost:
            found[tuple(map(str, key))] = (int(lost), int(mine.prompt.nunique()))
    return found
