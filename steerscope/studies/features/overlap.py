"""How many features two sets share, and how many they would share by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import hypergeom
from torch import Tensor

from steerscope.errors import AutoencoderMismatchError, BadValueError
from steerscope.sae.spans import check_count
from steerscope.statistics import CONFIDENCE, holm
from steerscope.studies.features.feature_sets import FeatureSet

_TAIL = (1 - CONFIDENCE) / 2
_STRATA = 10


@dataclass(frozen=True)
class Overlap:
    """What the first k features of two sets share, with what chance gives.

    Attributes:
        a: name of the one set.
        b: name of the other.
        k: features of each, at most.
        n_a: features of a among its first k, fewer where it ranks no more.
        n_b: the same of b.
        n_features: size of the dictionary.
        shared: how many are in both.
        expected: n_a n_b / n_features, the mean number by chance.
        chance_low: lower end of the band that holds 95 % of the hypergeometric distribution.
        chance_high: its upper end.
        p_hypergeometric: chance of sharing at least so many.
        p_fewer: chance of sharing at most so many.
        jaccard: shared / in either.
        jaccard_low: of the null draws, the 2.5 % quantile.
        jaccard_high: the 97.5 % quantile.
        rbo: rank-biased overlap, from 0 to 1, to the end of the shorter of the two.
        rbo_low: as `jaccard_low`.
        rbo_high: as `jaccard_high`.
        drawn_low: number shared in the null draws, the 2.5 % quantile.
        drawn_high: the 97.5 % quantile.
        p_permutation: share of the null draws that share at least so many, at least 1 / (n + 1).
    """

    a: str
    b: str
    k: int
    n_a: int
    n_b: int
    n_features: int
    shared: int
    expected: float
    chance_low: float
    chance_high: float
    p_hypergeometric: float
    p_fewer: float
    jaccard: float
    jaccard_low: float
    jaccard_high: float
    rbo: float
    rbo_low: float
    rbo_high: float
    drawn_low: float
    drawn_high: float
    p_permutation: float


def overlap(
    a: FeatureSet,
    b: FeatureSet,
    *,
    k: int | None = None,
    frequency: Float[Tensor, " feature"] | None = None,
    persistence: float = 0.9,
    n_draws: int = 1000,
    seed: int = 0,
) -> Overlap:
    """What the first k features of two sets of one dictionary share.

    The hypergeometric p takes every feature to be as likely as any other. Features that fire often
    get into every list, so the null draws may do better: with `frequency`, each feature of `b` is
    replaced by one that fires about as often.

    Args:
        a: a set.
        b: another.
        k: features of each; default all of the shorter one.
        frequency: share of tokens at which each feature fires; None to draw from all alike.
        persistence: weight of the deeper ranks in the rank-biased overlap, between 0 and 1; the
            first ranks count most when it is small.
        n_draws: null draws.
        seed: of the null draws.

    Raises:
        AutoencoderMismatchError: the sets are of different dictionaries.
        BadValueError: k exceeds a set or the dictionary, or a number is out of range.
    """
    depth = min(len(a.ranked), len(b.ranked)) if k is None else k
    a.first(depth), b.first(depth)
    (found,) = overlap_by_depth(
        a,
        b,
        [depth],
        frequency=frequency,
        persistence=persistence,
        n_draws=n_draws,
        seed=seed,
    )
    return found


def overlap_by_depth(
    a: FeatureSet,
    b: FeatureSet,
    depths: Sequence[int],
    *,
    frequency: Float[Tensor, " feature"] | None = None,
    persistence: float = 0.9,
    n_draws: int = 1000,
    seed: int = 0,
) -> list[Overlap]:
    """`overlap` at several k, from the same null draws; a set that ranks fewer than k counts as it is.

    Raises:
        AutoencoderMismatchError: the sets are of different dictionaries.
        BadValueError: a depth exceeds the dictionary, or a number is out of range.
    """
    if (a.dictionary, a.n_features) != (b.dictionary, b.n_features):
        raise AutoencoderMismatchError(
            f"{a.name!r} has features of {a.dictionary}, {b.name!r} of {b.dictionary}; numbers of "
            "different dictionaries have nothing to do with each other. Use `translated`."
        )
    if not 0 < persistence < 1:
        raise BadValueError(f"the persistence {persistence} must be between 0 and 1.")
    if n_draws < 1:
        raise BadValueError(f"n_draws is {n_draws}; a null needs at least 1 draw.")
    for depth in depths:
        check_count(depth, a.n_features)
    deepest = max(depths)
    one, other = a.ranked[:deepest], np.array([b.ranked[:deepest]])
    drawn = _alike(other[0], a.n_features, frequency, n_draws, seed)
    mine, null = (_shared_by_depth(one, rows, a.n_features, deepest) for rows in (other, drawn))
    return [_overlap(a, b, mine[0, :k], null[:, :k], persistence) for k in depths]


def shared_by_chance(
    a: FeatureSet,
    b: FeatureSet,
    *,
    frequency: Float[Tensor, " feature"] | None = None,
    n_draws: int = 1000,
    seed: int = 0,
) -> Int[np.ndarray, " draw"]:
    """How many features of `a` are among features that fire about as often as those of `b`, in every draw.

    Raises:
        AutoencoderMismatchError: not one frequency for each feature of the dictionary.
    """
    drawn = _alike(np.array(b.ranked), b.n_features, frequency, n_draws, seed)
    return np.isin(drawn, a.ranked).sum(axis=1)


def _overlap(
    a: FeatureSet,
    b: FeatureSet,
    mine: Int[np.ndarray, " rank"],
    null: Int[np.ndarray, "draw rank"],
    persistence: float,
) -> Overlap:
    k, n = len(mine), a.n_features
    sizes = n_a, n_b = min(k, len(a.ranked)), min(k, len(b.ranked))
    shared, chance = int(mine[-1]), hypergeom(n, n_a, n_b)
    both = min(sizes)
    jaccard, rbo = (
        np.quantile(values, [_TAIL, 1 - _TAIL])
        for values in (
            _jaccard(null[:, -1], sizes),
            rank_biased_overlap(null[:, :both], persistence),
        )
    )
    low, high = np.quantile(null[:, -1], [_TAIL, 1 - _TAIL])
    return Overlap(
        a=a.name,
        b=b.name,
        k=k,
        n_a=n_a,
        n_b=n_b,
        n_features=n,
        shared=shared,
        expected=n_a * n_b / n,
        chance_low=float(chance.ppf(_TAIL)),
        chance_high=float(chance.ppf(1 - _TAIL)),
        p_hypergeometric=float(chance.sf(shared - 1)),
        p_fewer=float(chance.cdf(shared)),
        jaccard=float(_jaccard(mine[-1:], sizes)[0]),
        jaccard_low=float(jaccard[0]),
        jaccard_high=float(jaccard[1]),
        rbo=float(rank_biased_overlap(mine[None, :both], persistence)[0]),
        rbo_low=float(rbo[0]),
        rbo_high=float(rbo[1]),
        drawn_low=float(low),
        drawn_high=float(high),
        p_permutation=float((1 + (null[:, -1] >= shared).sum()) / (1 + len(null))),
    )


def rank_biased_overlap(
    shared: Int[np.ndarray, "draw rank"], persistence: float
) -> Float[np.ndarray, " draw"]:
    """Agreement of two rankings, from the number they share at each depth; extrapolated.

    RBO = A_k p^k + (1 - p)/p Σ_{d=1..k} A_d p^d, with A_d = shared_d / d: the agreement at the last
    depth is taken to go on for ever, so that equal lists have 1 and disjoint ones 0.

    Args:
        shared: column d - 1 holds the number shared by the first d of both.
        persistence: p.

    Source: Webber, Moffat & Zobel 2010, RBO_ext for two lists of equal depth.
    """
    k = shared.shape[1]
    depth = np.arange(1, k + 1)
    agreement = shared / depth
    weights = persistence ** depth.astype(float)
    inside = (1 - persistence) / persistence * (agreement * weights).sum(axis=1)
    return agreement[:, -1] * weights[-1] + inside


def overlap_table(
    settings: Sequence[tuple[Mapping[str, object], FeatureSet, FeatureSet]],
    *,
    depths: Sequence[int],
    frequency: Mapping[str, Float[Tensor, " feature"]] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Overlap in many settings: domains, layers, seeds, sparsities.

    Args:
        settings: labels of each setting, such as concept, layer, seed and l0, with its two sets.
        depths: every k.
        frequency: for each dictionary by name, how often its features fire.
        seed: of the null draws.

    Returns:
        One row per setting and k: the labels, the fields of `Overlap`, and p_holm, the larger of
        p_hypergeometric and p_permutation corrected over the settings of the same k. Features fire
        differently often, so that sets of a model with random weights beat the first alone.

    Raises:
        AutoencoderMismatchError: the two sets of a setting are of different dictionaries.
        BadValueError: no setting, or a k that exceeds the dictionary.
    """
    if not settings:
        raise BadValueError("a table of overlaps needs at least one setting.")
    rows = [
        {**labels, "dictionary": a.dictionary, **asdict(found)}
        for labels, a, b in settings
        for found in overlap_by_depth(
            a, b, depths, frequency=(frequency or {}).get(a.dictionary), seed=seed
        )
    ]
    table = pd.DataFrame(rows)
    for _, part in table.groupby("k"):
        larger = part[["p_hypergeometric", "p_permutation"]].max(axis=1)
        table.loc[part.index, "p_holm"] = holm(larger.to_numpy(float))
    return table


def of_each(table: pd.DataFrame) -> str:
    """What the sets of a table at one k hold, for a title: k of each, or fewer where one ranks no more."""
    k = int(table.k.iloc[0])
    sizes = table.reindex(columns=["n_a", "n_b"])  # rows of before have none
    fewer = " or fewer" if (sizes < k).to_numpy().any() else ""
    return f"the first {k}{fewer} of each"


def _alike(
    ranked: Int[np.ndarray, " rank"],
    n_features: int,
    frequency: Float[Tensor, " feature"] | None,
    n_draws: int,
    seed: int,
) -> Int[np.ndarray, "draw rank"]:
    """Draws in which every feature is replaced by another of its stratum, none twice."""
    rng = np.random.default_rng(seed)
    stratum = _strata(n_features, frequency)
    drawn = np.empty((n_draws, len(ranked)), dtype=int)
    for number in np.unique(stratum[ranked]):
        places = np.flatnonzero(stratum[ranked] == number)
        members = np.flatnonzero(stratum == number)
        for row in drawn:
            row[places] = members[rng.choice(len(members), len(places), replace=False)]
    return drawn


def _strata(
    n_features: int, frequency: Float[Tensor, " feature"] | None
) -> Int[np.ndarray, " feature"]:
    """Number of each feature's stratum: those that never fire, and tenths of those that do."""
    if frequency is None:
        return np.zeros(n_features, dtype=int)
    often = frequency.double().cpu().numpy()
    if len(often) != n_features:
        raise AutoencoderMismatchError(
            f"{len(often)} frequencies for a dictionary of {n_features} features."
        )
    alive = np.flatnonzero(often > 0)
    strata = np.zeros(n_features, dtype=int)
    order = alive[np.argsort(often[alive], kind="stable")]
    strata[order] = 1 + np.arange(len(order)) * _STRATA // max(1, len(order))
    return strata


def _shared_by_depth(
    one: Sequence[int], others: Int[np.ndarray, "draw rank"], n_features: int, deepest: int
) -> Int[np.ndarray, "draw depth"]:
    """How many of the first d features of one ranking are among the first d of each other."""
    place = np.full(n_features, deepest)
    place[list(one)] = np.arange(len(one))
    # depth, from 0, at which both have it
    both_by = np.maximum(place[others], np.arange(others.shape[1]))
    return np.stack([(both_by <= d).sum(axis=1) for d in range(deepest)], axis=1)


def _jaccard(
    shared: Int[np.ndarray, " draw"], sizes: tuple[int, int]
) -> Float[np.ndarray, " draw"]:
    return shared / (sum(sizes) - shared)
