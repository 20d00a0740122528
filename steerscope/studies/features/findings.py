"""What trials of directions at one KL come to: rows to numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from steerscope.judges.effects import SHOWN, SHOWN_UNDAMAGED, is_share
from steerscope.judges.scoring import SCORE
from steerscope.runs.results import NOT_FINITE
from steerscope.statistics import (
    by_cluster,
    distinct_difference,
    distinct_mean,
    holm,
    rank_p,
    sign_flip,
    sign_flip_p,
)

CONTRASTIVE = "contrastive"
NULLS = ("random direction", "random features")
SURE = 0.05
_COLUMNS = [
    "kl", "method", "metric", "value", "low", "high", "n", "difference", "difference_low",
    "difference_high", "p", "p_holm", "null_max", "p_null", "p_null_holm", "n_nulls",
    "p_rank",
]  # fmt: skip


def null_name(kind: str, number: int) -> str:
    """What a null direction is called: the first of its kind by the kind alone."""
    return kind if number == 0 else f"{kind} {number + 1}"


def is_null(method: str) -> bool:
    """Whether a method is a null direction, whichever of its kind."""
    return any(method == kind or method.startswith(f"{kind} ") for kind in NULLS)


def summarised(trials: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Every direction on every outcome, with its interval, and paired against contrastive steering.

    Intervals and p are over distinct prompts, as far as the trials say which are.

    Args:
        trials: as `run_trials` returns them.
        seed: of resamples and sign flips.

    Returns:
        One row per KL, method and metric: value, low, high, n (distinct prompts), difference (to contrastive, on the same
        prompts) with its interval, p by sign flips, and p_holm over the directions that are no nulls
        and the metrics of one KL; NaN at a KL that contrastive steering does not reach. null_max is the mean
        of the null direction that has most of the n_nulls that are known, p_null the largest one-sided p against each in
        turn and 1 beside one that is not, which counts as at least as good as any, as in `rank` of methods; p_null_holm
        is that over the methods of one KL, and is about prompts alone. p_rank is that of the mean among the means
        of all nulls. A method of which one sign overflowed has the mean of the other, and is
        compared with nothing. A judge's score is no outcome and has
        no row, nor whether a text shows the concept, where it is known whether it does so undamaged.
    """
    fixed = [
        "kl",
        "method",
        "kl_nats",
        "dose_natural",
        "prompt",
        "group",
        "status",
        "given",
        "written",
        SCORE,
    ]
    if SHOWN_UNDAMAGED in trials:
        fixed.append(SHOWN)  # what counts is whether it is shown and undamaged
    metrics = [c for c in trials if c not in fixed]
    rows, groups = [], _groups(trials)
    for kl, part in trials[trials.method != "plain"].groupby("kl"):
        by_method = {
            str(m): rows.set_index("prompt")[metrics].sort_index()
            for m, rows in part.groupby("method", sort=False)
        }
        by_method["plain"] = (
            trials[trials.method == "plain"].set_index("prompt")[metrics].sort_index()
        )
        lost = _overflowed(part)
        reference = None if CONTRASTIVE in lost else by_method.get(CONTRASTIVE)
        nulls = {m: values for m, values in by_method.items() if is_null(m)}
        for method, values in by_method.items():
            for metric in metrics:
                row = {"kl": kl, "method": method, "metric": metric}
                row |= _level(values[metric], metric, groups, seed)
                if reference is not None and method not in {CONTRASTIVE, *lost}:
                    row |= _apart(values[metric] - reference[metric], metric, groups, seed)
                if not is_null(method):
                    known = {m: n for m, n in nulls.items() if m not in lost}
                    others = [n[metric] for n in known.values() if n[metric].notna().any()]
                    n_lost = len(nulls) - len(others)
                    mine = values[metric] * math.nan if method in lost else values[metric]
                    row |= _beside_nulls(mine, others, groups, seed, n_lost=n_lost)
                rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=_COLUMNS)
    for _, part in table.groupby("kl"):
        tested = part[part.p.notna() & ~part.method.map(is_null) & (part.method != "plain")]
        table.loc[tested.index, "p_holm"] = holm(tested.p.to_numpy(float))
    for _, part in table.groupby(["kl", "metric"]):
        tested = part[part.p_null.notna() & (part.method != "plain")]
        table.loc[tested.index, "p_null_holm"] = holm(tested.p_null.to_numpy(float))
    return table


def _overflowed(trials: pd.DataFrame) -> set[str]:
    """The methods of which logits overflowed at a KL, under one sign or both."""
    if "status" not in trials:
        return set()
    return set(trials.method[trials.status == NOT_FINITE])


def _groups(trials: pd.DataFrame) -> pd.Series:
    """The number of the distinct prompt that each held-out prompt is, as far as the trials say."""
    first = trials.drop_duplicates("prompt").set_index("prompt")
    return first["group"] if "group" in first else pd.Series(first.index, first.index)


def _level(values: pd.Series, metric: str, groups: pd.Series, seed: int) -> dict[str, float]:
    """The mean of a metric."""
    labels = groups[values.index].to_numpy()
    found = distinct_mean(values.to_numpy(float), labels, share=is_share(metric), seed=seed)
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def _apart(gap: pd.Series, metric: str, groups: pd.Series, seed: int) -> dict[str, float]:
    """The difference to contrastive steering, and its two-sided p."""
    values, labels = gap.to_numpy(float), groups[gap.index].to_numpy()
    found = distinct_difference(values, labels, share=is_share(metric), seed=seed)
    ends = {"difference_low": found.low, "difference_high": found.high}
    return {
        "difference": found.value,
        **ends,
        "p": sign_flip_p(by_cluster(values, labels), seed=seed),
    }


def _beside_nulls(
    values: pd.Series, nulls: Sequence[pd.Series], groups: pd.Series, seed: int, *, n_lost: int
) -> dict[str, float]:
    """The mean of the null direction that has most, the rank p among them, and the largest one-sided p against each.

    The p is 1 beside one of which nothing is known, and NaN where a null shares fewer than two distinct prompts with the method.
    """
    if not nulls:
        return {}
    means = [float(null.mean()) for null in nulls]
    found = {"null_max": max(means), "n_nulls": len(means)}
    found["p_rank"] = rank_p(float(values.mean()), np.array([*means, *[math.nan] * n_lost]))
    apart = [values - null for null in nulls]
    gaps = [by_cluster(gap.to_numpy(float), groups[gap.index].to_numpy()) for gap in apart]
    if not all(map(len, gaps)):
        return {**found, "p_null": math.nan}
    each = [float(sign_flip(gap[None], seed=seed)[0]) for gap in gaps]
    worst = math.nan if any(map(math.isnan, each)) else max(each)  # which one it is, is not known
    return {**found, "p_null": 1.0 if n_lost else worst}
