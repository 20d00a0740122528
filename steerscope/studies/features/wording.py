"""What trials of directions at one KL show, in sentences."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from steerscope.studies.features.findings import CONTRASTIVE, SURE, is_null


def trials_in_words(table: pd.DataFrame, *, kl: float, effect: str) -> list[str]:
    """What feature-targeted steering gains and costs beside contrastive steering at a KL.

    Args:
        table: as `summarised` returns it.
        kl: at which.
        effect: name of the metric that is wanted; the others are what should be kept.
    """
    here = table[np.isclose(table.kl, kl)].set_index(["method", "metric"])
    n = int(here.n.max())
    lines = [
        f"At {kl:g} nats on the select prompts, {n} held-out prompts, against contrastive steering:"
    ]
    every = here.index.unique("method")
    methods = [m for m in every if m not in {CONTRASTIVE, "plain"} and not is_null(m)]
    compared = CONTRASTIVE in every and not math.isnan(here.loc[(CONTRASTIVE, effect), "value"])
    if compared:
        lines.append(f"  {CONTRASTIVE}: {_level(here, CONTRASTIVE, effect)}")
    else:
        why = "no text could be read" if CONTRASTIVE in every else "does not reach it"
        lines.append(f"  {CONTRASTIVE}: {why}, so that nothing is compared with it")
    for method in methods:
        if here.loc[method].value.isna().all():
            lines.append(f"  {method}: nothing is known, no text could be read")
            continue
        told = [
            f"{metric} {'more' if row.difference > 0 else 'less'} ({_gap(row)})"
            for metric, row in here.loc[method].iterrows()
            if row.p_holm < SURE
        ]
        if not compared:
            lines.append(f"  {method}: {_level(here, method, effect)}")
            continue
        verdict = ", ".join(told) if told else "not told apart in anything"
        level = f"{_level(here, method, effect)}, {_gap(here.loc[(method, effect)])}"
        lines.append(f"  {method}: {level}; sure after Holm: {verdict}")
    found = [here.loc[(null, effect)].value for null in every if is_null(null)]
    nulls = [value for value in found if not math.isnan(value)]
    lost = len(found) - len(nulls)
    if nulls:
        above = [m for m in every if m != "plain" and here.loc[(m, effect)].p_null_holm < SURE]
        lines.append(
            f"  {len(nulls)} null direction{'s' * (len(nulls) > 1)}: {effect} {100 * min(nulls):.0f} to {100 * max(nulls):.0f} %; above "
            f"every one of them after Holm: {', '.join(above) or 'none'}"
            + (
                f"; of {lost} more null direction{'s' * (lost > 1)} nothing is known"
                if lost
                else ""
            )
        )
    return lines


def _level(here: pd.DataFrame, method: str, metric: str) -> str:
    row, n = here.loc[(method, metric)], int(here.n.max())
    known = f", known of {row.n:.0f} of {n} prompts" if row.n < n else ""
    return f"{metric} {100 * row.value:.0f} % [{100 * row.low:.0f}, {100 * row.high:.0f}]{known}"


def _gap(row: pd.Series) -> str:
    low, high = 100 * row.difference_low, 100 * row.difference_high
    return f"{100 * row.difference:+.0f} points [{low:+.0f}, {high:+.0f}]"
