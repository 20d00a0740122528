"""Whether the order of methods holds from one draw of the texts, concept or model to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import combinations

import pandas as pd

from steerscope.statistics import rank_correlation
from steerscope.studies.methods.bundles import OTHER

_SETTING = ["place", "matching"]


@dataclass(frozen=True)
class Asked:
    """What a ranking of methods is of.

    Attributes:
        model: that was steered.
        concept: its contrast set.
        draw: seed of the splits, from which directions, layers and held-out texts come.
    """

    model: str
    concept: str
    draw: int


def order_agreement(
    rankings: Sequence[tuple[Asked, pd.DataFrame]], *, seed: int = 0
) -> pd.DataFrame:
    """Spearman's rho of the methods' effects between every two rankings that differ in one thing.

    Null directions and the direction of another concept are no methods. Methods share much of what they
    find, so that they are no independent items: the interval is too narrow, and the p too small.

    Args:
        rankings: what each is of, and one row per setting and method with its effect.
        seed: of resamples.

    Returns:
        One row per two rankings and setting: differs (`draw`, `concept` or `model`), one, other (their
        places in the sequence), place, matching, rho with low, high, p and n (methods that both know; NaN
        below four of them), best (of the first; empty where several share the largest effect) and
        its_rank (in the other; 1 is the best, ties share the mean, NaN where its effect is not known).
    """
    rows = []
    for (i, (one, a)), (j, (other, b)) in combinations(enumerate(rankings), 2):
        names = ("model", "concept", "draw")
        differing = [
            n for n, x, y in zip(names, astuple(one), astuple(other), strict=True) if x != y
        ]
        if len(differing) != 1:
            continue
        both = _methods(a).merge(_methods(b), on=[*_SETTING, "method"], suffixes=("", "_other"))
        for (place, matching), part in both.groupby(_SETTING, sort=False):
            found = rank_correlation(*part[["effect", "effect_other"]].to_numpy(float).T, seed=seed)
            best = _best(part)
            ranks = part.set_index("method").effect_other.rank(ascending=False)
            rows.append(
                {"differs": differing[0], "one": i, "other": j, "place": place, "matching": matching,
                 "rho": found.rho, "low": found.low, "high": found.high, "p": found.p, "n": found.n,
                 "best": best, "its_rank": ranks.get(best, math.nan)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _best(ranking: pd.DataFrame) -> str:
    """The method with the largest effect; empty where several share it, or none is known."""
    first = ranking[ranking.effect == ranking.effect.max()]
    return str(first.method.iloc[0]) if len(first) == 1 else ""


def _methods(ranking: pd.DataFrame) -> pd.DataFrame:
    kept = ranking[~ranking.null.astype(bool) & (ranking.method != OTHER)]
    return kept[[*_SETTING, "method", "effect"]]
