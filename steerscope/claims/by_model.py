"""The same claims of several models side by side: supported here, refuted there."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from steerscope.runs.digits import edges_of, in_digits, with_ends

NOT_RUN = "not run"


def by_model(board: pd.DataFrame) -> pd.DataFrame:
    """One row a claim, one column a model: the verdict with the number that decided it.

    A claim that nothing has measured of a model is `not run` there, which is no verdict. Of several of one
    name, out of as many files, each verdict on a model stands.

    Args:
        board: as `claims.board` returns it, of one or several files of claims.
    """
    models = [m for m in dict.fromkeys(board.model) if m]
    rows = []
    for name, claims in board.groupby("claim", sort=False):
        told: dict[str, list[str]] = {}
        for row in claims.to_dict("records"):
            told.setdefault(row["model"], []).append(_verdict(row))
        cells = {model: "; ".join(told.get(model, [NOT_RUN])) for model in models}
        rows.append({"claim": name, "words": claims.words.iloc[0], **cells})
    return pd.DataFrame(rows, columns=["claim", "words", *models])


def _verdict(row: Mapping[Hashable, Any]) -> str:
    """The verdict, the number and its interval."""
    if row["value"] != row["value"]:
        return f"{row['verdict']}, not known"
    value, low, high = (row[name] for name in ("value", "low", "high"))
    edges = edges_of(row["direction"], row["threshold"])
    if math.isnan(low):
        return f"{row['verdict']} {in_digits(value, '+.2f', edges)} (no interval)"
    return f"{row['verdict']} {with_ends(value, low, high, '+.2f', edges)}"
