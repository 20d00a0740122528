"""The table of methods and places as a whole: is what the select split chooses better than the rest?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from steerscope.errors import BadValueError
from steerscope.statistics import bootstrap_mean, max_statistic, sign_flip
from steerscope.studies.methods.findings import NULLS, of_distinct

KEYS = ["matching", "place", "method"]


def across_places(
    responses: pd.DataFrame, screened: pd.DataFrame, *, seed: int = 0
) -> pd.DataFrame:
    """The method and place with the largest effect on the select split, against every other.

    It was chosen on other texts, so that its differences need no correction for having been looked
    for; p of the differences is two-sided, by the max statistic over all of them. p_null is of
    one-sided sign flips against every null direction of every place, the largest of these.

    Args:
        responses: one row per condition and held-out item, as in `findings`.
        screened: place, matching, method, seed and `screened`, the effect on the select split.
        seed: of resamples and flips.

    Returns:
        One row per matching, place and method, the chosen one first: effect, screened, is_chosen,
        difference (chosen minus this one), low, high (bootstrap over items), p_corrected, p_null of the
        chosen one. What is not known is left out, and named: choice_lost has the method and place of which
        the effect on the select split is larger still than that of the chosen one, empty for none, and
        nulls_lost how many null directions there are more than n_nulls, which count as at least as good.

    Raises:
        BadValueError: nothing is known of any method.
    """
    parts = []
    nulls_at = responses[responses.method.isin(NULLS)].drop_duplicates(["place", "method", "seed"])
    for matching, rows in of_distinct(responses).groupby("matching", sort=False):
        wide = rows.pivot(index=["place", "method", "seed"], columns="item", values="effect")
        measured, wide = wide.index, wide.dropna()
        nulls = wide.index.get_level_values("method").isin(NULLS)
        mine = wide[~nulls].groupby(level=["place", "method"], sort=False).mean()
        of_methods = screened[~screened.method.isin(NULLS) & (screened.matching == matching)]
        by_method = of_methods.groupby(["place", "method"]).screened.mean()
        looked = by_method.reindex(mine.index)
        if not len(mine) or looked.isna().all():
            continue
        chosen = looked.idxmax()
        best = mine.loc[chosen].to_numpy(float)
        against = wide[nulls].to_numpy(float)
        n_lost = len(nulls_at) - len(against)
        differences = best - mine.to_numpy(float)
        estimates = [bootstrap_mean(row, seed=seed) for row in differences]
        is_chosen = np.array([key == chosen for key in mine.index])
        p = np.full(len(mine), np.nan)
        if (~is_chosen).any():
            others = differences[~is_chosen]
            both = max_statistic(np.concatenate([others, -others]), seed=seed)
            p[~is_chosen] = np.minimum(both[: len(others)], both[len(others) :])
        table = mine.mean(axis=1).rename("effect").reset_index()
        table.insert(0, "matching", matching)
        parts.append(
            table.assign(
                screened=looked.to_numpy(),
                is_chosen=is_chosen,
                difference=[e.value for e in estimates],
                low=[e.low for e in estimates],
                high=[e.high for e in estimates],
                p_corrected=p,
                p_null=np.where(is_chosen, _p_null(best, against, n_lost, seed), np.nan),
                n=wide.shape[1],
                choice_lost=_lost_choice(by_method, measured, looked.max(), mine.index),
                nulls_lost=n_lost,
                n_nulls=len(against),
            ).sort_values(["is_chosen", "effect"], ascending=False)
        )
    if not parts:
        raise BadValueError("no method at any place has an effect that is known.")
    return pd.concat(parts, ignore_index=True)


def _p_null(
    best: Float[np.ndarray, " item"],
    nulls: Float[np.ndarray, "null item"],
    n_lost: int,
    seed: int,
) -> float:
    """P against every null, of which one whose effect is not known counts as at least as good; NaN without any."""
    if n_lost:
        return 1.0
    return float(sign_flip(best - nulls, seed=seed).max()) if len(nulls) else np.nan


def _lost_choice(screened: pd.Series, measured: pd.MultiIndex, best: float, known: pd.Index) -> str:
    """The method and place of the largest effect on the select split, where nothing else is known of it."""
    there = screened[screened.index.isin(measured.droplevel("seed"))]
    above = there[(there > best) & ~there.index.isin(known)]
    if above.empty:
        return ""
    place, method = above.idxmax()
    return f"{method} at {place}"
