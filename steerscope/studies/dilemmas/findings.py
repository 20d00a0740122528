"""From the choices in dilemmas to what each technique does to each value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from steerscope.runs.overflows import as_far_as_known
from steerscope.runs.results import Run
from steerscope.statistics import clustered_mean, holm, sign_flip_p
from steerscope.studies.dilemmas.data import lowered
from steerscope.studies.transfer.findings import against, odd_and_even

KIND = "DilemmaPlan"
PLAIN = "plain"
TARGET = "target_value"
_FEWEST = 5  # dilemmas with a label, under which a value says nothing


def dilemma_rows(run: Run) -> pd.DataFrame:
    """The items of a run as the comparison of techniques takes them.

    Columns: technique, coefficient, matched, item, metric, value. Beside what was measured, the metric
    `target_value` is the log-odds of the side that serves the target value, for the dilemmas where it is
    on one side alone. A condition that overflows on one dilemma has no value on any.

    Raises:
        RunError: the run has no rows.
    """
    table = as_far_as_known(run.table())
    rows = pd.DataFrame(
        {
            "technique": table.method,
            "coefficient": table.dose_natural,
            "matched": table.operator.str.contains("matched"),
            "item": table.prompt,
            "metric": table.metric,
            "value": table.value,
            "nats": table.kl_nats,
        }
    )
    labels = label_table(run.configuration)
    target = _towards(rows, labels.get(_target(run), {})).assign(metric=TARGET)
    kl = rows[rows.metric == "log_odds"].assign(metric="kl", value=lambda t: t.nats)
    return pd.concat([rows, target, kl], ignore_index=True).drop(columns="nats")


def _target(run: Run) -> str:
    """The target value as labels have it; older runs keep it as it was typed."""
    return lowered(run.configuration["value"])


def label_table(configuration: Mapping[str, Any]) -> dict[str, dict[int, int]]:
    """By value: on which side it is in each dilemma, by the dilemma's place."""
    found: dict[str, dict[int, int]] = {}
    for item, labels in enumerate(configuration["labels"].values()):
        for value, side in labels.items():
            found.setdefault(value, {})[item] = int(side)
    return found


def _towards(rows: pd.DataFrame, labels: Mapping[int, int]) -> pd.DataFrame:
    """The log-odds of the side that serves a value, for the dilemmas with a label."""
    mine = rows[(rows.metric == "log_odds") & rows.item.isin(list(labels))]
    return mine.assign(value=mine.value * mine.item.map(dict(labels)))


def value_table(run: Run) -> pd.DataFrame:
    """What each technique does to each value at the matched KL.

    The effect is half the difference between the signs of the log-odds of the side that serves the
    value, paired by dilemma, with Student's interval over the dilemmas. Columns: technique, value, is_target, n (dilemmas with a label and an answer
    at both signs), effect, low, high, p (sign flips), p_holm (over all values and techniques that have
    five dilemmas or more). Where no matched coefficient reaches the KL, a technique is stated at ±1; one that was
    not measured there under both signs has no row.
    """
    rows, target = dilemma_rows(run), _target(run)
    labels, found = label_table(run.configuration), []
    there = set(rows.technique)
    for technique in [t for t in run.configuration["techniques"] if t in there]:
        mine = rows[(rows.technique == technique) & (rows.metric == "log_odds")]
        at = mine[mine.matched]
        if set(np.sign(at.coefficient)) != {-1.0, 1.0}:
            at = mine[mine.coefficient.abs().eq(1) & ~mine.matched]
        if set(np.sign(at.coefficient)) != {-1.0, 1.0}:
            continue
        up, down = (at[np.sign(at.coefficient) == s].set_index("item").value for s in (1, -1))
        moved = (up - down) / 2
        for value, sides in labels.items():
            effect = np.array([moved.get(item, math.nan) * side for item, side in sides.items()])
            estimate = clustered_mean(effect)
            told = estimate.n >= _FEWEST
            found.append(
                {"technique": technique, "value": value, "is_target": value == target}
                | {"matched": bool(at.matched.all()), "n": estimate.n, "effect": estimate.value}
                | {"low": estimate.low, "high": estimate.high}
                | {"p": sign_flip_p(effect) if told else math.nan}
            )
    columns = ["technique", "value", "is_target", "matched", "n", "effect", "low", "high", "p"]
    table = pd.DataFrame(found, columns=columns)
    table["p_holm"] = math.nan
    tested = table.p.notna().to_numpy()
    if tested.any():
        table.loc[tested, "p_holm"] = holm(table.p.to_numpy(float)[tested])
    return table


def target_curves(run: Run) -> pd.DataFrame:
    """The target value and the nats of reading over c, in odd and even parts, for every technique."""
    rows = dilemma_rows(run)
    parts = [
        odd_and_even(rows, m).assign(metric=m) for m in (TARGET, "nll") if m in set(rows.metric)
    ]
    return pd.concat(parts, ignore_index=True)


def target_against(run: Run, reference: str) -> pd.DataFrame:
    """Every technique against a reference on the target value at the matched KL, as `against`.

    Of the KL the mean over the dilemmas alone is stored, so that it has no interval.
    """
    return against(dilemma_rows(run), TARGET, reference).assign(kl_low=math.nan, kl_high=math.nan)


def answered_table(run: Run) -> pd.DataFrame:
    """Share of dilemmas that are answered under every condition, and the mean mass on both words.

    NaN for a condition whose logits overflow.
    """
    rows = dilemma_rows(run)
    keys = ["technique", "coefficient", "matched"]
    shares = rows[rows.metric.isin(["answered", "mass", "nll"])]
    return shares.groupby([*keys, "metric"]).value.mean().unstack("metric").reset_index()
