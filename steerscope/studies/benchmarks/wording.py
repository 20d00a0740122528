"""What a benchmark shows, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from steerscope.studies.benchmarks.findings import PLAIN

_LEVEL = 0.05
Lost = Mapping[tuple[str, ...], tuple[int, int]]


def sentences(table: pd.DataFrame, names: Mapping[str, str], lost: Lost | None = None) -> list[str]:
    """What every condition does to every metric of a task, one sentence each.

    Args:
        table: as `benchmark_table` returns it.
        names: what each condition is called.
        lost: where logits overflowed, as `overflows` returns it.
    """
    rows = table[table.cell != PLAIN].to_dict("records")
    return [_sentence(row, names.get(row["cell"], row["cell"]), lost or {}) for row in rows]


def _sentence(row: Mapping[str, Any], name: str, lost: Lost) -> str:
    start = f"{row['split']}: {name} "
    for cell, whose in ((row["cell"], ""), (PLAIN, " without steering")):
        if (row["split"], cell) in lost:
            n, items = lost[row["split"], cell]
            return (
                f"{start}has no {row['metric']} to compare: on {n} of {items} items the logits are not "
                f"finite{whose}, so nothing is known of it."
            )
    if not row["n"] or math.isnan(row["change"]):
        return f"{start}has no {row['metric']} to compare, so nothing is known of it."
    tested = f"{_p(row)}, {row['n']:.0f} items"
    if math.isnan(row["change_low"]):
        return (
            f"{start}is not shown to change {row['metric']}: {row['change']:+.3f} to {row['value']:.3f} (no interval, "
            f"{row['n']:.0f} items of one cluster)."
        )
    span = f"{row['change']:+.3f} [{row['change_low']:+.3f}, {row['change_high']:+.3f}]"
    if row["p_holm"] < _LEVEL:
        way = "raises" if row["change"] > 0 else "lowers"
        return f"{start}{way} {row['metric']} by {span} to {row['value']:.3f} ({tested})."
    return (
        f"{start}is not shown to change {row['metric']}: {span} to {row['value']:.3f} ({tested}); "
        "changes within that interval are not excluded."
    )


def interference_sentences(table: pd.DataFrame, names: Mapping[str, str], first: str) -> list[str]:
    """Whether each condition does otherwise in another context than in the first."""
    found = []
    for row in table.to_dict("records"):
        name = names.get(row["cell"], row["cell"])
        start = f"{row['task']}: whether {name} moves {row['metric']} otherwise {row['context']} than {first} "
        alike = math.isnan(row["low"])
        span = "on all alike" if alike else f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        tested = f"{row['value']:+.3f} {span} ({_p(row)}, {row['n']:.0f} items)"
        if not row["n"] or math.isnan(row["value"]):
            found.append(f"{start}is not known, since numbers are missing.")
        elif row["n"] == 1:
            found.append(f"{start}is not known: one item is too few.")
        elif alike and not row["value"]:
            found.append(f"{start}is not shown: none of {row['n']:.0f} items tells.")
        elif row["p_holm"] < _LEVEL:
            found.append(f"{start}is shown: it does, by {tested}.")
        else:
            found.append(f"{start}is not shown: {tested}.")
    return found


def _p(row: Mapping[str, Any]) -> str:
    return f"p {row['p']:.3g}, {row['p_holm']:.3g} after Holm"
