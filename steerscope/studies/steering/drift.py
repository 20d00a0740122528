"""Drift: how much steering changes each attribute of a text, the one asked for and the others."""

from __future__ import annotations

import math

import pandas as pd

from steerscope.errors import BadValueError
from steerscope.judges.effects import Effect
from steerscope.runs.distinct import NO_GROUPS, Groups
from steerscope.runs.overflows import lost_cells
from steerscope.studies.steering.responses import PLAIN, conditions, per_prompt
from steerscope.studies.steering.success import difference


def drift_table(
    table: pd.DataFrame,
    effect: Effect,
    *,
    split: str,
    layer: int,
    dose_natural: float,
    methods: tuple[str, str],
    groups: Groups = NO_GROUPS,
) -> pd.DataFrame:
    """Change of every attribute from plain to one condition, paired by prompt, in percentage points.

    What was asked for changes by the share of texts that show it; every other attribute by the share
    that has lost it, less the share that has gained it. Positive is always more change.

    Args:
        table: the rows of a run.
        effect: what was asked for; a share.
        split: of which prompts.
        layer: where was steered.
        dose_natural: how hard.
        methods: the method, and that of directions which mean nothing, all their seeds.
        groups: which prompts are distinct.

    Returns:
        attribute, on_target, change, low and high (95 %, over distinct prompts), null (mean change
        under the directions that mean nothing, NaN without any, or where one overflowed), n, and n_lost, of how many of
        those directions some logits are not finite.

    Raises:
        BadValueError: the effect is no share, or the condition was not measured.
    """
    if not effect.is_share:
        raise BadValueError(f"drift is of attributes of texts; {effect.metric} is read off pairs.")
    cells, nulls = (_cells(table, split, m, layer, dose_natural) for m in methods)
    if not cells:
        raise BadValueError(
            f"{methods[0]} at layer {layer}, {dose_natural:+g} natural, is not in the {split} split."
        )
    lost = set(nulls).intersection(lost_cells(table[table.split == split]))
    rows = []
    for metric, words, sign in _attributes(table, effect, split):
        values = per_prompt(table, metric, split)
        asked = values.columns[values.loc[cells[0]].notna()]
        changes = sign * (values[asked] - values.loc[PLAIN, asked])
        mine = changes.loc[cells[0]].dropna()
        found = difference(mine, groups, split, metric, share=True)
        row = {
            "attribute": words,
            "on_target": metric == effect.metric,
            "change": 100 * found.value,
        }
        row |= {"low": 100 * found.low, "high": 100 * found.high, "n": found.n}
        level = math.nan if lost else float(changes.reindex(nulls).mean(axis=1).mean())
        rows.append(row | {"null": 100 * level, "n_lost": len(lost)})
    return pd.DataFrame(rows)


def _attributes(table: pd.DataFrame, effect: Effect, split: str) -> list[tuple[str, str, int]]:
    """Metric, words and sign of everything that can change, what was asked for first."""
    there = set(table[table.split == split].metric)
    lost = [
        limit for limit in effect.limits if limit.loss and limit.is_share and limit.metric in there
    ]
    lost.sort(key=lambda limit: limit.higher_is_worse)
    return [(effect.metric, effect.metric, 1)] + [
        (limit.metric, limit.loss, 1 if limit.higher_is_worse else -1) for limit in lost
    ]


def _cells(
    table: pd.DataFrame, split: str, method: str, layer: int, dose_natural: float
) -> list[str]:
    labels = conditions(table[table.split == split])
    here = (labels.method == method) & (labels.layer == layer)
    return list(labels[here & ((labels.dose_natural - dose_natural).abs() < 1e-6)].index)
