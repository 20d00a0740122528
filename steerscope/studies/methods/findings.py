"""Which methods beat the null directions, and which beat each other: verdicts on a table.

A screen has one row per direction and matching: `matching`, `method`, `seed`, `layer`, `effect`.
Responses have one row per condition and item, an item being a held-out prompt or pair: `place`
(which layer was taken), `matching`, `method`, `seed`, `layer`, `item`, `effect`. Every condition
sees the same items, so that all comparisons are paired. Items that say the same, as the column `group` may
tell, count as one, with their mean effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float

from steerscope.errors import BadValueError
from steerscope.statistics import (
    CONFIDENCE,
    benjamini_hochberg,
    bootstrap_mean,
    holm,
    max_statistic,
    sign_flip,
)

NULLS = ("random", "covariance_matched_random", "label_shuffled")
OWN, COMMON = "own layer", "common layer"
SURE = 0.05
SAME_VECTOR = 0.99  # cosine
SETTING = ["place", "matching"]
TOP = "best, or not told from the best"
BETWEEN = "above the nulls, below the best"
LOST = "not told from the nulls"
NULL = "null, mean over seeds"
UNMATCHED = "do not reach the KL"
UNKNOWN = "not known: its logits are not finite"


def best_layers(screen: pd.DataFrame) -> pd.DataFrame:
    """The row of the layer with the largest effect, for each place, matching, method and seed.

    Null directions choose their layer as methods do, so that choosing favours neither.
    """
    placed = screen if "place" in screen else screen.assign(place=OWN)
    found = placed.dropna(subset="effect").reset_index(drop=True)
    best = found.groupby(["place", "matching", "method", "seed"], sort=False).effect.idxmax()
    return found.loc[best]


def at_common_layer(screen: pd.DataFrame) -> pd.DataFrame:
    """The rows of the layer where the methods do best on average, for each matching.

    Only layers count at which as many methods as anywhere have an effect; nulls have no say.
    """
    parts = []
    for _, rows in screen.dropna(subset="effect").groupby("matching", sort=False):
        methods = rows[~rows.method.isin(NULLS)].groupby("layer").effect.agg(["mean", "count"])
        if methods.empty:
            continue
        everyone = methods[methods["count"] == methods["count"].max()]
        parts.append(rows[rows.layer == everyone["mean"].idxmax()])
    return pd.concat(parts or [screen[:0]]).assign(place=COMMON)


def with_company(chosen: pd.DataFrame) -> pd.DataFrame:
    """The conditions of those places and matchings that have both a method and a null direction.

    Raises:
        BadValueError: there is no such place.
    """
    is_null = chosen.method.isin(NULLS)
    groups = [chosen[key] for key in SETTING]
    both = is_null.groupby(groups).transform("any") & (~is_null).groupby(groups).transform("any")
    if not both.any():
        raise BadValueError(
            "at no place do both methods and null directions reach the matched KL; ask for a smaller "
            "KL, or give larger doses."
        )
    return chosen[both].reset_index(drop=True)


def rank(responses: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Effect of each method with its interval, and whether it beats every null direction.

    The null band is where 95 % of the null directions lie, by their mean effects. p is of one-sided
    sign flips over items against each null direction in turn, the largest of these p values, so
    that it speaks of beating every one of them, as 1 of n_nulls + 1 directions at random does; Holm and
    Benjamini-Hochberg correct it over the whole table. Conditions of which no item is known are left out; a method
    without any other has NaN and n = 0. A null of which nothing is known, since its logits are not finite or it does
    not reach the KL at which the others of its place are matched, counts as at least as good as any method, so that p is
    1 beside it.

    Args:
        responses: one row per condition and item.
        seed: of resamples and flips.

    Returns:
        One row per setting and method, best first: effect, low, high (bootstrap over items), n,
        null_low, null_high, null_max, n_nulls (of which an effect is known), null_lost (how many more there
        are), p, p_holm, q_bh. A kind of null is a row too, its seeds
        averaged and its p NaN.

    Raises:
        BadValueError: a setting without null directions, or conditions with different items.

    Source: the largest p for "better than all" by Berger 1982, intersection-union.
    """
    rows: list[dict[str, object]] = []
    for setting, values in _by_setting(responses):
        is_null = values.index.get_level_values("method").isin(NULLS)
        nulls = values[is_null].to_numpy(float)
        lost = _lost_nulls(responses, setting, len(nulls))
        low, high = null_band(nulls.mean(axis=1))
        for method, mine in values.groupby(level="method", sort=False):
            items = mine.to_numpy(float)
            estimate = bootstrap_mean(items.mean(axis=0), seed=seed)
            null = method in NULLS
            worst = 1.0 if lost else float(sign_flip(items[0] - nulls, seed=seed).max())
            rows.append(
                {
                    **setting,
                    "method": method,
                    "null": null,
                    "effect": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                    "n": estimate.n,
                    "null_low": low,
                    "null_high": high,
                    "null_max": float(nulls.mean(axis=1).max()),
                    "n_nulls": len(nulls),
                    "null_lost": lost,
                    "p": np.nan if null else worst,
                }
            )
        rows += [
            {**setting, "method": method, "null": method in NULLS, "effect": np.nan, "n": 0}
            for method in _unknown(responses, setting, values)
        ]
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table.p.to_numpy(float))
    table["q_bh"] = benjamini_hochberg(table.p.to_numpy(float))
    order = ["place", "matching", "effect"]
    return table.sort_values(order, ascending=[False, True, False], ignore_index=True)


def null_band(means: Float[np.ndarray, " null"]) -> tuple[float, float]:
    """The interval in which the middle 95 % of the null directions' mean effects lie."""
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def rivals(responses: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Paired difference of every two methods within each setting, and whether it is real.

    p is two-sided, by the max statistic over all pairs of all settings at once; so also the pair of
    the best with any other may be looked at, though it was found on the same items.

    Returns:
        One row per setting and pair: better, worse (by their means), difference, low, high
        (bootstrap over items), p_corrected.

    Raises:
        BadValueError: fewer than two methods, or conditions with different items.
    """
    rows, differences = [], []
    for setting, values in _by_setting(responses):
        means = values[~values.index.get_level_values("method").isin(NULLS)]
        methods = means.groupby(level="method", sort=False).mean()
        for one, other in combinations(methods.index, 2):
            difference = (methods.loc[one] - methods.loc[other]).to_numpy(float)
            if difference.mean() < 0:
                one, other, difference = other, one, -difference
            estimate = bootstrap_mean(difference, seed=seed)
            bounds = {"low": estimate.low, "high": estimate.high}
            differences.append(difference)
            rows.append(
                {**setting, "better": one, "worse": other, "difference": estimate.value, **bounds}
            )
    if not rows:
        raise BadValueError("a comparison needs at least two methods that are not nulls.")
    found = np.stack(differences)
    both = max_statistic(np.concatenate([found, -found]), seed=seed)
    return pd.DataFrame(rows).assign(p_corrected=both[: len(rows)])


def _by_setting(responses: pd.DataFrame) -> list[tuple[dict[str, str], pd.DataFrame]]:
    """Of each setting the effects, one row per method and seed, one column per item."""
    found = []
    responses = of_distinct(responses)
    items = sorted(responses["item"].unique())
    for keys, part in responses.groupby(SETTING, sort=False):
        values = part.pivot(index=["method", "seed"], columns="item", values="effect")
        values = values.reindex(columns=items).dropna(how="all")
        if values.isna().any(axis=None):
            raise BadValueError(f"conditions of {keys} lack an effect on some of the items.")
        if not values.index.get_level_values("method").isin(NULLS).any():
            lost = (
                "their logits are not finite" if part.method.isin(NULLS).any() else "there are none"
            )
            raise BadValueError(f"{keys} has no null directions ({', '.join(NULLS)}): {lost}.")
        found.append((dict(zip(SETTING, keys, strict=True)), values))
    return found


def of_distinct(responses: pd.DataFrame) -> pd.DataFrame:
    """One row for each condition and distinct item, with the mean effect of those that say the same."""
    if "group" not in responses:
        return responses
    keys = [*SETTING, "method", "seed"]
    by_group = responses.assign(item=responses["group"]).groupby([*keys, "item"], sort=False)
    return by_group.effect.mean().reset_index()


def _lost_nulls(responses: pd.DataFrame, setting: Mapping[str, str], known: int) -> int:
    """How many null directions of a place have no known effect as they are matched: overflowed, or matched otherwise only."""
    nulls = responses[(responses.place == setting["place"]) & responses.method.isin(NULLS)]
    return len(nulls.drop_duplicates(["method", "seed"])) - known


def n_lost_nulls(rows: pd.DataFrame) -> int:
    """Of how many null directions of a ranking nothing is known."""
    lost = rows.get("null_lost", pd.Series(dtype=float)).dropna()
    return int(lost.max()) if len(lost) else 0


def _unknown(responses: pd.DataFrame, setting: Mapping[str, str], known: pd.DataFrame) -> list[str]:
    """The methods of a setting of which nothing is known."""
    here = responses[(responses[SETTING] == pd.Series(setting)).all(axis=1)]
    there = set(known.index.get_level_values("method"))
    return [str(method) for method in here.method.unique() if method not in there]


def standings(ranking: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The ranking with a column `standing`: what may be said of each method in its setting.

    The best is the method with the largest effect among those that beat the nulls.
    """
    found = ranking.assign(standing=LOST)
    found.loc[found.null, "standing"] = NULL
    found.loc[found.effect.isna(), "standing"] = UNKNOWN
    for _, rows in found[found.p_holm < SURE].groupby(SETTING, sort=False):
        best = rows.loc[rows.effect.idxmax()]
        here = (pairs[SETTING] == best[SETTING]).all(axis=1)
        lower = pairs[here & (pairs.better == best.method) & (pairs.p_corrected < SURE)].worse
        found.loc[rows.index, "standing"] = np.where(rows.method.isin(lower), BETWEEN, TOP)
    return found
