"""Correlations over items that are alike to their neighbours, such as the layers of a model.

Shuffled one by one, such items lose what makes two unrelated curves run alike by chance: of two unrelated
curves of 30 layers with a correlation of 0.8 between neighbours, 29 % have p below 0.05. Cut at three places and
dealt out as pieces they keep their neighbours, and 6 % do.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations, permutations, product

import numpy as np
from jaxtyping import Float, Int

from steerscope.statistics.intervals import CONFIDENCE

MOST_ITEMS = 16  # of which every order of the pieces is tried; more have too many
_PIECES = 3  # with more of them fewer items keep their neighbours, and fewer have too few orders
_CERTAIN = 1 - 1e-9


@cache
def every_block_order(n: int) -> Int[np.ndarray, "order item"]:
    """Every order of n items in pieces, each once, the given one among them.

    The items lie on a circle that is cut at three places; the pieces change places, and each may turn round.

    Source: circular blocks as of Politis & Romano 1992, permuted instead of drawn.
    """
    found = set()
    for cuts in combinations(range(n), min(_PIECES, n)):
        ends = (*cuts[1:], cuts[0] + n) if cuts else ()
        pieces = [[i % n for i in range(a, b)] for a, b in zip(cuts, ends, strict=True)]
        for order in permutations(pieces):
            for turned in product((1, -1), repeat=len(pieces)):
                dealt = zip(order, turned, strict=True)
                found.add(tuple(item for piece, step in dealt for item in piece[::step]))
    return np.array(sorted(found), dtype=int).reshape(len(found), n)


def random_block_orders(
    n: int, n_orders: int, rng: np.random.Generator
) -> Int[np.ndarray, "order item"]:
    """Some of the orders of `every_block_order`, for many items."""
    pieces = min(_PIECES, n)
    starts = np.sort(rng.random((n_orders, n)).argsort(axis=1)[:, :pieces], axis=1)
    lengths = np.diff(np.c_[starts, starts[:, :1] + n], axis=1)
    dealt = rng.random((n_orders, pieces)).argsort(axis=1)
    starts, lengths = (np.take_along_axis(x, dealt, axis=1) for x in (starts, lengths))
    ends = lengths.cumsum(axis=1)
    place = np.arange(n)
    piece = (place[None, :, None] >= ends[:, None, :-1]).sum(axis=2)
    start, length, end = (np.take_along_axis(x, piece, axis=1) for x in (starts, lengths, ends))
    within = place - (end - length)
    turned = np.take_along_axis(rng.random((n_orders, pieces)) < 0.5, piece, axis=1)
    return (start + np.where(turned, length - 1 - within, within)) % n


def interval_by_chance(
    rho: float, chance: Float[np.ndarray, " order"], *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """An interval about a correlation, as wide on Fisher's scale as what unrelated items give by chance.

    tanh(atanh ρ ± q), with q the quantile of |atanh ρ₀| over the chance correlations ρ₀. So it holds 0 where p is above
    1 - confidence. NaN for a perfect correlation, of which nothing says how far it may be from the truth.

    Args:
        rho: the correlation.
        chance: correlations of the same items in orders without meaning; NaN are left out.
        confidence: of the interval.
    """
    known = np.abs(chance[np.isfinite(chance)])
    if not abs(rho) < _CERTAIN or not len(known):
        return math.nan, math.nan
    with np.errstate(divide="ignore"):
        width = np.arctanh(min(1.0, float(np.quantile(known, confidence, method="higher"))))
    return float(np.tanh(np.arctanh(rho) - width)), float(np.tanh(np.arctanh(rho) + width))
