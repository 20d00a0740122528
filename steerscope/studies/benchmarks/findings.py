"""From the items of a benchmark to what every condition changes, paired with plain."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from steerscope.runs.overflows import as_far_as_known, lost_among
from steerscope.runs.results import Run
from steerscope.statistics import (
    Estimate,
    clustered_mean,
    clustered_share,
    holm,
    mcnemar,
    share_difference,
    sign_flip_p,
)

PLAIN = "plain"
KEYS = ["split", "metric", "cell"]
_MEASURED = ("split", "cell")


def benchmark_items(run: Run) -> pd.DataFrame:
    """One row per condition, task and context, item and metric: cell, split, prompt, metric, value, cluster.

    Items without a cluster of their own are each their own. A condition that overflows on one item of a task
    has no value on any of them.

    Raises:
        RunError: the run has no rows.
    """
    table, texts = as_far_as_known(run.table(), _MEASURED), run.texts(["cluster"])
    found = table[["cell", "method", "dose_natural", "split", "prompt", "metric", "value"]].copy()
    plain = texts[texts.cell == PLAIN]
    named = dict(zip(zip(plain.split, plain.prompt, strict=True), plain.cluster, strict=True))
    keys = zip(found.split, found.prompt, strict=True)
    found["cluster"] = [named.get(key) or f"item {key[1]}" for key in keys]
    return found


def overflows(run: Run) -> dict[tuple[str, ...], tuple[int, int]]:
    """By task and condition, on how many items it overflows, and of how many; only where it does.

    Raises:
        RunError: the run has no rows.
    """
    return lost_among(run.table(), _MEASURED)


def benchmark_table(items: pd.DataFrame) -> pd.DataFrame:
    """Every condition on every task, and what it changes against plain on the same items.

    Columns: split, metric, cell, dose, n (items with a number under both), value, low, high,
    change, change_low, change_high (of right and wrong Tango's score interval, where items share a
    cluster the wider of it and Student's over clusters, of other numbers that of Student), lost (items that are right under plain alone),
    won (right under the condition alone), p (McNemar's exact test of right and wrong; of other numbers,
    or where items share a cluster, flips of the sign of whole clusters), p_holm over all that is
    tested here. Plain itself has no change.
    """
    found = []
    for keys, mine in items.groupby(KEYS, sort=False):
        split, metric, cell = keys
        plain = items[(items.split == split) & (items.metric == metric) & (items.cell == PLAIN)]
        both = mine.merge(plain, on="prompt", suffixes=("", "_plain"))
        value, clusters = both.value.to_numpy(float), both.cluster.to_numpy(str)
        before = both.value_plain.to_numpy(float)
        own = _level(value, clusters)
        row = dict(zip(KEYS, keys, strict=True)) | {"dose": float(mine.dose_natural.iloc[0])}
        row |= {"value": own.value, "low": own.low, "high": own.high}
        if cell == PLAIN:
            nothing = Estimate(math.nan, math.nan, math.nan, int((~np.isnan(value)).sum()))
            found.append(row | _change(nothing) | {"lost": 0, "won": 0, "p": math.nan})
        else:
            found.append(row | _paired(value, before, clusters))
    table = pd.DataFrame(found)
    table["p_holm"] = math.nan
    tested = table.p.notna().to_numpy()
    if tested.any():
        table.loc[tested, "p_holm"] = holm(table.p.to_numpy(float)[tested])
    return table


def _level(values: Float[np.ndarray, " item"], clusters: Shaped[np.ndarray, " item"]) -> Estimate:
    share = _is_share(values)
    return (clustered_share if share else clustered_mean)(values, clusters)


def _is_share(values: Float[np.ndarray, " item"]) -> bool:
    there = values[~np.isnan(values)]
    return bool(np.isin(there, (0.0, 1.0)).all())


def _paired(
    value: Float[np.ndarray, " item"],
    before: Float[np.ndarray, " item"],
    clusters: Shaped[np.ndarray, " item"],
) -> dict[str, float]:
    there = ~(np.isnan(value) | np.isnan(before))
    value, before, clusters = value[there], before[there], clusters[there]
    change = clustered_mean(value - before, clusters)
    change = Estimate(change.value, change.low, change.high, len(value))
    alone = len(np.unique(clusters)) == len(clusters)
    if not len(value) or not (_is_share(value) and _is_share(before)):
        p = _flips(value - before, clusters)
        return _change(change) | {"lost": 0, "won": 0, "p": p}
    test = mcnemar(value == 1, before == 1)
    p = test.p if alone else _flips(value - before, clusters)
    by_item = share_difference(len(value), test.only_first, test.only_second)
    # where few items turn, resampling them knows too little of what else may happen
    low, high = (by_item.low, by_item.high) if alone else (change.low, change.high)
    if not alone:
        low = float(
            np.clip(np.minimum(low, by_item.low), -1, 1)
        )  # a NaN, as of one cluster, stays one
        high = float(np.clip(np.maximum(high, by_item.high), -1, 1))
    change = Estimate(change.value, low, high, len(value))
    return _change(change) | {"lost": test.only_second, "won": test.only_first, "p": p}


def _flips(differences: Float[np.ndarray, " item"], clusters: Shaped[np.ndarray, " item"]) -> float:
    """p of the sum of each cluster under flips of its sign."""
    if not len(differences):
        return math.nan
    _, members = np.unique(clusters, return_inverse=True)
    return sign_flip_p(np.bincount(members, differences))


def _change(estimate: Estimate) -> dict[str, float]:
    return {
        "n": estimate.n,
        "change": estimate.value,
        "change_low": estimate.low,
        "change_high": estimate.high,
    }


def interference(items: pd.DataFrame, contexts: Sequence[str]) -> pd.DataFrame:
    """Whether steering does otherwise with examples or thinking than without, item by item.

    (steered - plain) in a context minus (steered - plain) in the first, over items that have all four
    numbers; the interval is Student's over clusters, none where no item differs. Columns: task, context, metric, cell, n, value, low, high, p (sign flips of clusters),
    p_holm.

    Args:
        items: as `benchmark_items` returns them.
        contexts: their names, the first of which the others are compared with.
    """
    found = []
    keys = ["split", "metric", "prompt"]
    plain = items[items.cell == PLAIN].set_index(keys).value
    steered = items[items.cell != PLAIN].copy()
    steered["moved"] = (
        steered.value - plain.reindex(pd.MultiIndex.from_frame(steered[keys])).to_numpy()
    )
    for context in contexts[1:]:
        for split in [s for s in steered.split.unique() if s.endswith(f", {context}")]:
            task = split.removesuffix(f", {context}")
            mine = steered[steered.split == split]
            first = steered[steered.split == f"{task}, {contexts[0]}"]
            both = mine.merge(first, on=["cell", "metric", "prompt"], suffixes=("", "_first"))
            for (metric, cell), group in both.groupby(["metric", "cell"], sort=False):
                apart = (group.moved - group.moved_first).to_numpy(float)
                there = ~np.isnan(apart)
                clusters = group.cluster.to_numpy(str)[there]
                mean = clustered_mean(apart[there], clusters)
                if mean.low == mean.high:  # no interval where nothing varies
                    mean = Estimate(mean.value, math.nan, math.nan, mean.n)
                p = _flips(apart[there], clusters) if there.any() else math.nan
                found.append(
                    {"task": task, "context": context, "metric": metric, "cell": cell}
                    | {"n": int(there.sum()), "value": mean.value, "low": mean.low}
                    | {"high": mean.high, "p": p}
                )
    columns = ["task", "context", "metric", "cell", "n", "value", "low", "high", "p"]
    table = pd.DataFrame(found, columns=columns)
    tested = table.p.notna().to_numpy()
    table["p_holm"] = math.nan
    if tested.any():
        table.loc[tested, "p_holm"] = holm(table.p.to_numpy(float)[tested])
    return table
