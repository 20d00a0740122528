"""What trials of directions at one KL show, in sentences."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import pandas as pd

from steerscope.studies.features.findings import CONTRASTIVE, SURE, is_null
from steerscope.studies.ranks import ENOUGH, by_chance

_OVERFLOWS = "its logits are not finite"
_UNREAD = "no text could be read"
_NOT_COMPARED = ", so that nothing is compared with it"
_UNCOMPARED = "how it compares with any other is not known"


def trials_in_words(
    table: pd.DataFrame, *, kl: float, effect: str, overflowed: Collection[str] = ()
) -> list[str]:
    """What feature-targeted steering gains and costs beside contrastive steering at a KL.

    Args:
        table: as `summarised` returns it.
        kl: at which.
        effect: name of the metric that is wanted; the others are what should be kept.
        overflowed: methods whose logits were not finite there, as `overflowed_at` gives them.
    """
    here = table[np.isclose(table.kl, kl)].set_index(["method", "metric"])
    if here.empty:
        return [
            f"At {kl:g} nats on the select prompts: nothing reaches it, so that nothing is known."
        ]
    n = int(here.n.max())
    every, without = here.index.unique("method"), ""
    if "plain" in every and not math.isnan(here.loc[("plain", effect), "value"]):
        without = f" (without steering {_level(here, 'plain', effect, overflowed)})"
    lines = [
        f"At {kl:g} nats on the select prompts, {n} held-out prompts{without}, against contrastive steering:"
    ]
    methods = [m for m in every if m not in {CONTRASTIVE, "plain"} and not is_null(m)]
    known = CONTRASTIVE in every and not math.isnan(here.loc[(CONTRASTIVE, effect), "value"])
    compared = known and CONTRASTIVE not in overflowed
    why = {m: _OVERFLOWS if m in overflowed else _UNREAD for m in every}
    lost = why.get(CONTRASTIVE, "does not reach it")
    said = _level(here, CONTRASTIVE, effect, overflowed) if known else lost
    lines.append(f"  {CONTRASTIVE}: {said}{'' if compared else _NOT_COMPARED}")
    for method in methods:
        mine = here.loc[method]
        if mine.value.isna().all():
            said = f"nothing is known, {why[method]}"
        elif math.isnan(mine.value[effect]):
            sure = _sure(mine, "anything else") if compared else ""
            if compared and method in overflowed:
                sure = f"; {_UNCOMPARED}"
            said = f"nothing is known of {effect}{sure}"
        else:
            said = _level(here, method, effect, overflowed)
            if compared and method in overflowed:
                said += f", {_UNCOMPARED}"
            elif compared:
                said += f", {_gap(mine.loc[effect])}{_sure(mine, 'anything')}"
        lines.append(f"  {method}: {said}")
    return lines + _nulls(here, effect, overflowed)


def _sure(mine: pd.DataFrame, anything: str) -> str:
    """In what a method is surely told from contrastive steering."""
    told = [
        f"{metric} {'more' if row.difference > 0 else 'less'} ({_gap(row)})"
        for metric, row in mine.iterrows()
        if row.p_holm < SURE
    ]
    return f"; sure after Holm: {', '.join(told) if told else f'not told apart in {anything}'}"


def _nulls(here: pd.DataFrame, effect: str, overflowed: Collection[str]) -> list[str]:
    """What the null directions have, what is above them, and how many are not known and count.

    With few of them a direction at random is often ahead of all, so that nothing is said to be above the nulls.
    """
    every = here.index.unique("method")
    found = {null: here.loc[(null, effect)].value for null in every if is_null(null)}
    nulls = [v for null, v in found.items() if not math.isnan(v) and null not in overflowed]
    lost = len(found) - len(nulls)
    if not nulls:
        unknown = f"  of {lost} null direction{'s' * (lost > 1)} nothing is known, so that nothing is compared with them"
        return [unknown] if lost else []
    n = len(nulls)
    ahead = [m for m in every if m != "plain" and here.loc[(m, effect)].p_null_holm < SURE]
    first = [m for m in ahead if here.loc[(m, effect)].p_rank <= SURE]
    said = f"ahead of {'each of them' if n > 1 else 'it'} on these prompts after Holm: "
    if n >= ENOUGH:
        said = f"above the nulls, by rank and after Holm: {', '.join(first) or 'none'}"
    elif ahead:
        said += (
            f"{', '.join(ahead)}, as {by_chance(n)}: by rank p >= {1 / (n + 1):.2g}, so that it cannot be told "
            f"whether {'they are' if len(ahead) > 1 else 'it is'} above the nulls (at least {ENOUGH} tell)"
        )
    else:
        said += "none"
    counted = "count" if lost > 1 else "counts"
    more = f"; {lost} more, not known, {counted} as at least as good as any" if lost else ""
    return [
        f"  {n} null direction{'s' * (n > 1)}: {effect} {100 * min(nulls):.0f} to {100 * max(nulls):.0f} %; {said}{more}"
    ]


def _level(here: pd.DataFrame, method: str, metric: str, overflowed: Collection[str]) -> str:
    row, n = here.loc[(method, metric)], int(here.n.max())
    known = f", known of {row.n:.0f} of {n} prompts" if row.n < n else ""
    if known and method in overflowed:
        known += f": on the others {_OVERFLOWS}"
    return f"{metric} {100 * row.value:.0f} %{_span(row.low, row.high, '.0f')}{known}"


def _gap(row: pd.Series) -> str:
    if math.isnan(row.difference):
        return "no prompt is known of both"
    span = _span(row.difference_low, row.difference_high, "+.0f")
    return f"{100 * row.difference:+.0f} points{span}"


def _span(low: float, high: float, form: str) -> str:
    """An interval of shares in points; of one prompt there is none."""
    if math.isnan(low):
        return " (no interval: 1 prompt)"
    return f" [{100 * low:{form}}, {100 * high:{form}}]"
