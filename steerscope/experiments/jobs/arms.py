"""The arms of a combination, read off its rows."""

from __future__ import annotations

import math

import pandas as pd

from steerscope.runs.results import LOST, NOT_FINITE, NOT_REACHED

SINGLE, ADDED, ALL = "single layer", "sum of two concepts", "all layers"


def arms_of_rows(table: pd.DataFrame, metric: str, split: str) -> pd.DataFrame:
    """One row per arm, one column per prompt; a text in which nothing can be read is no effect.

    Nor is, by a judge that gives scores, one that is damaged; in runs from before those counted.

    An arm whose logits overflow, or that no dose brings to the KL, is NaN on every prompt.
    """
    rows = table[(table.metric == metric) & (table.split == split)]
    found = rows.pivot(index="cell", columns="prompt", values="value").fillna(0.0)
    found.loc[found.index.isin(rows.cell[rows.status.isin(LOST)])] = math.nan
    return found


def best_of(table: pd.DataFrame, metric: str, family: str) -> str | None:
    """The arm of a family that does best on the select prompts, of those that reach the KL.

    None where none does, or where the logits of one overflow, which may be the best.
    """
    mine = table.cell.str.startswith(family)
    if (table.status[mine] == NOT_FINITE).any():
        return None
    means = arms_of_rows(table, metric, "select").mean(axis=1)
    known = means[means.index.str.startswith(family)].dropna()
    return str(known.idxmax()) if len(known) else None


def out_of_reach(table: pd.DataFrame, families: tuple[str, ...]) -> list[str]:
    """The arms of some families that no dose brings to the KL."""
    mine = table.cell.str.startswith(families) & (table.status == NOT_REACHED)
    return sorted(table.cell[mine].unique())
