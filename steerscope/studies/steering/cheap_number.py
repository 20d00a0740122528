"""Whether what a model prefers, which costs one pass, tells what it writes, which a judge must read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.statistics import Correlation, rank_correlation
from steerscope.studies.steering.responses import conditions
from steerscope.studies.steering.success import PLAIN, per_prompt


@dataclass(frozen=True)
class CheapNumber:
    """Preference against judged effect over the conditions of a split.

    Attributes:
        table: one row a condition: method, preference (mean shift from plain on the held-out pairs, in
            nats) and effect (mean change from plain on the same prompts).
        correlation: of the ranks.
    """

    table: pd.DataFrame
    correlation: Correlation


def cheap_number(table: pd.DataFrame, effect: Effect, split: str = "select") -> CheapNumber | None:
    """Both numbers of every steered condition; None where not both were measured."""
    metrics = set(table[table.split == split].metric)
    if not effect.is_share or not {PREFERENCE.metric, effect.metric} <= metrics:
        return None
    shifts = [
        values.sub(values.loc[PLAIN], axis=1).mean(axis=1).drop(PLAIN)
        for values in (per_prompt(table, m, split) for m in (PREFERENCE.metric, effect.metric))
    ]
    found = pd.concat(shifts, axis=1, keys=["preference", "effect"], join="inner").dropna()
    if found.empty:
        return None
    labels = conditions(table)
    found.insert(0, "method", labels.method.reindex(found.index).to_numpy())
    x, y = (found[name].to_numpy(np.float64) for name in ("preference", "effect"))
    return CheapNumber(found, rank_correlation(x, y))
