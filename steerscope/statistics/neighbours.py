"""Correlations over items that are alike to their neighbours, such as the layers of a model.

Shuffled one by one, such items lose what makes two unrelated curves run alike by chance: of two unrelated
curves of 30 layers with a correlation of 0.8 between neighbours, 26 to 30 % have p below 0.05. Cut at four places
and dealt out as pieces they keep their neighbours, and 6 to 9 % do. Of curves without a level, such as random
walks, still 20 % do: what only rises or falls must be held fixed.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations, permutations, product

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from steerscope.statistics.correlations import Correlation
from steerscope.statistics.intervals import CONFIDENCE

MOST_ITEMS = 8  # of which every order of the pieces is tried; more have too many
_PIECES = 4  # of more fewer items keep their neighbours; of fewer there are few orders unlike the given one
_SHORTEST = 10  # of so many items a piece has one at the least
_FEWEST = 4  # points of a curve that tell anything
_CERTAIN = 1 - 1e-9


@cache
def every_block_order(n: int) -> Int[np.ndarray, "order item"]:
    """Every order of n items in pieces, each once, the given one among them.

    The items lie on a circle that is cut at four places; the pieces, a tenth of the items long or longer, change
    places, and each may turn round.

    Source: circular blocks as of Politis & Romano 1992, permuted instead of drawn.
    """
    found = set()
    for cuts in combinations(range(n), min(_PIECES, n)):
        ends = (*cuts[1:], cuts[0] + n) if cuts else ()
        pieces = [[i % n for i in range(a, b)] for a, b in zip(cuts, ends, strict=True)]
        if min(map(len, pieces), default=1) < n // _SHORTEST:
            continue
        for order in permutations(pieces):
            for turned in product((1, -1), repeat=len(pieces)):
                dealt = zip(order, turned, strict=True)
                found.add(tuple(item for piece, step in dealt for item in piece[::step]))
    return np.array(sorted(found), dtype=int).reshape(len(found), n)


def random_block_orders(
    n: int, n_orders: int, rng: np.random.Generator
) -> Int[np.ndarray, "order item"]:
    """Some of the orders of `every_block_order`, for many items."""
    if not n:
        return np.empty((n_orders, 0), dtype=int)
    pieces, least = min(_PIECES, n), max(1, n // _SHORTEST)
    free = n - pieces * least + pieces - 1  # items to spare, and the ends that divide them
    ends = np.sort(rng.random((n_orders, free)).argsort(axis=1)[:, : pieces - 1], axis=1)
    edges = np.c_[np.full(n_orders, -1), ends, np.full(n_orders, free)]
    lengths = np.diff(edges, axis=1) - 1 + least
    starts = rng.integers(n, size=(n_orders, 1)) + lengths.cumsum(axis=1) - lengths
    dealt = rng.random((n_orders, pieces)).argsort(axis=1)
    starts, lengths = (np.take_along_axis(x, dealt, axis=1) for x in (starts, lengths))
    stops = lengths.cumsum(axis=1)
    place = np.arange(n)
    piece = (place[None, :, None] >= stops[:, None, :-1]).sum(axis=2)
    start, length, stop = (np.take_along_axis(x, piece, axis=1) for x in (starts, lengths, stops))
    within = place - (stop - length)
    turned = np.take_along_axis(rng.random((n_orders, pieces)) < 0.5, piece, axis=1)
    return (start + np.where(turned, length - 1 - within, within)) % n


def interval_by_chance(
    rho: float, chance: Float[np.ndarray, " order"], *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """An interval about a correlation, as wide on Fisher's scale as what unrelated items give by chance.

    tanh(atanh ρ ± q), with q the quantile of |atanh ρ₀| over the chance correlations ρ₀ and ρ itself. So it holds 0
    where their share that is as large as ρ is above 1 - confidence. NaN for a perfect correlation, of which
    nothing says how far it may be from the truth, and where chance gives nothing but 0.

    Args:
        rho: the correlation.
        chance: correlations of the same items in orders without meaning; NaN are left out.
        confidence: of the interval.
    """
    known = np.abs(chance[np.isfinite(chance)])
    if not abs(rho) < _CERTAIN or not known.any():
        return math.nan, math.nan
    known = np.append(known, abs(rho))
    with np.errstate(divide="ignore"):
        width = np.arctanh(min(1.0, float(np.quantile(known, confidence, method="higher"))))
    return float(np.tanh(np.arctanh(rho) - width)), float(np.tanh(np.arctanh(rho) + width))


def curve_correlation(
    x: Float[np.ndarray, " item"],
    y: Float[np.ndarray, " item"],
    *,
    seed: int = 0,
    n_orders: int = 5000,
) -> Correlation:
    """Spearman's rho of two curves, by orders in which most points keep their neighbours.

    The p value is the share of the orders of one curve that do as well, the interval `interval_by_chance`.
    NaN in everything but n where fewer than four points are finite on both or one curve does not vary.

    Args:
        x: a curve, point by point.
        y: another, at the same points.
        seed: of random orders.
        n_orders: of them, where there are too many points to try all.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    n = len(x)
    if n < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(math.nan, math.nan, math.nan, math.nan, n)
    a, b = (ranks - ranks.mean() for ranks in map(stats.rankdata, (x, y)))
    if n <= MOST_ITEMS:
        orders, counted = every_block_order(n), 0
    else:
        orders, counted = random_block_orders(n, n_orders, np.random.default_rng(seed)), 1
    length = math.sqrt((a @ a) * (b @ b))
    rho, chance = float(a @ b / length), b[orders] @ a / length
    extreme = np.abs(chance) >= abs(rho) - 1e-12
    p = float((counted + extreme.sum()) / (counted + len(orders)))
    return Correlation(rho, *interval_by_chance(rho, chance), p, n)
