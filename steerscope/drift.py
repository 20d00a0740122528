"""Drift: how much steering changes each attribute of a text, the one asked for and the others."""

from __future__ import annotations

import pandas as pd

from steerscope.errors import BadValueError
from steerscope.statistics import bootstrap_mean
from steerscope.studies import PLAIN, Effect, per_prompt

_KEPT = "kept_"
_LOSSES = {"grammatical": "grammar lost"}  # shares of which less is worse, beside those kept
_GAINS = {"degenerate": "degenerate"}


def drift_table(
    table: pd.DataFrame, effect: Effect, *, cell: str, split: str, nulls: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Change of every attribute from plain to one condition, paired by prompt, in percentage points.

    What was asked for changes by the share of texts that show it; every other attribute by the share
    that has lost it. Positive is always more change.

    Args:
        table: the rows of a run.
        effect: what was asked for; a share.
        cell: the condition.
        split: of which prompts.
        nulls: cells of directions that mean nothing, at the same place and length.

    Returns:
        attribute, on_target, change, low and high (95 % bootstrap over prompts), null (mean change
        under the nulls, NaN without any) and n.

    Raises:
        BadValueError: the effect is no share.
    """
    if not effect.is_share:
        raise BadValueError(f"drift is of attributes of texts; {effect.metric} is read off pairs.")
    there = list(dict.fromkeys(table[table.split == split].metric))
    kept = {m: f"{m.removeprefix(_KEPT)} lost" for m in there if m.startswith(_KEPT)}
    measured = [(effect.metric, effect.metric, 1)]
    measured += [(m, words, -1) for m, words in (kept | _LOSSES).items() if m in there]
    measured += [(m, words, 1) for m, words in _GAINS.items() if m in there]
    rows = []
    for metric, words, sign in measured:
        values = per_prompt(table, metric, split)
        if cell not in values.index:
            continue
        asked = values.columns[values.loc[cell].notna()]
        changes = 100 * sign * (values[asked] - values.loc[PLAIN, asked])
        found = bootstrap_mean(changes.loc[cell].to_numpy(float))
        row = {"attribute": words, "on_target": metric == effect.metric, "change": found.value}
        row |= {"low": found.low, "high": found.high, "n": found.n}
        row["null"] = float(changes.reindex(list(nulls)).mean(axis=1).mean())
        rows.append(row)
    return pd.DataFrame(rows)
