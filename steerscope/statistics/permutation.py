"""Tests by random signs: of one mean difference, and of the best of a sweep."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import stats

from steerscope.errors import TooLittleDataError


def sign_flip_p(
    differences: Float[np.ndarray, " item"], *, seed: int = 0, n_flips: int = 5000
) -> float:
    """Two-sided p of a mean paired difference, from random signs of the items; NaN for fewer than 2.

    Source: Fisher's randomisation test; the smallest p is 1 / (n_flips + 1).
    """
    kept = differences[~np.isnan(differences)]
    if len(kept) < 2:
        return math.nan
    observed, flipped = _flips(kept[None], seed, n_flips)
    return float((1 + (np.abs(flipped) >= np.abs(observed) - 1e-12).sum()) / (n_flips + 1))


def max_statistic(
    differences: Float[np.ndarray, "cell prompt"], *, seed: int = 0, n_flips: int = 5000
) -> Float[np.ndarray, " cell"]:
    """Corrected one-sided p of each cell of a sweep, for a mean difference above zero.

    The sign of each prompt's differences is flipped at random, the same in all cells, and each
    cell's t statistic is compared with the largest over all cells: the chance that a sweep with no
    effect anywhere has a cell this good. Where one item of one cell is NaN, all are.

    Source: Westfall & Young 1993, single-step max-T.
    """
    n_cells, n_prompts = differences.shape
    if n_prompts < 2:
        return np.full(n_cells, math.nan)
    observed, flipped = _flips(differences, seed, n_flips)
    largest = flipped.max(axis=1)
    return _p_of(largest[:, None], observed)


def max_mean(
    differences: Float[np.ndarray, "cell prompt"], *, seed: int = 0, n_draws: int = 5000
) -> Float[np.ndarray, " cell"]:
    """Corrected one-sided p of each cell of a sweep whose best is the one with the largest mean.

    Each prompt's differences are weighted at random, the same in all cells, and each cell's mean is
    compared with the largest over all cells: the chance that a sweep with no effect anywhere has a
    best cell this good. The weights have mean 0, and their squares and cubes mean 1, so that the
    skew stays that a sweep of shares has, in which one plain text stands against many steered ones.
    Where cells are chosen by their means this keeps its level for the chosen one; `max_statistic`
    does not, since the noisiest cell has the largest mean and no large t. Where one item of one cell is
    NaN, all are.

    Source: Westfall & Young 1993, single-step; weights of Mammen 1993 in place of signs.
    """
    if differences.shape[1] < 2:
        return np.full(len(differences), math.nan)
    largest = _largest_means(differences, seed, n_draws)
    observed = differences.mean(axis=1)
    return _p_of(largest[:, None], observed)


def cell_level(
    differences: Float[np.ndarray, "cell prompt"],
    *,
    level: float = 0.05,
    seed: int = 0,
    n_draws: int = 5000,
) -> Float[np.ndarray, " cell"]:
    """Level at which `max_mean` tests each cell by itself, so that the whole sweep has `level`.

    With c the mean that the best cell of a sweep without effect exceeds with probability `level`,
    it is the chance of t above √n c / sd, sd being that of the cell. `power_of` takes it to tell
    what effect a sweep shows in a cell. NaN for a cell that does not vary.

    Args:
        differences: of a sweep with as many prompts, such as a pilot.
        level: of the whole sweep.
        seed: of the weights.
        n_draws: number of draws.

    Raises:
        TooLittleDataError: fewer than 2 prompts.
    """
    n = differences.shape[1]
    if n < 2:
        raise TooLittleDataError(f"the level of a cell needs at least 2 prompts, got {n}.")
    critical = np.quantile(_largest_means(differences, seed, n_draws), 1 - level)
    sd = np.where(np.ptp(differences, axis=1) > 0, differences.std(axis=1, ddof=1), math.nan)
    return stats.t.sf(critical * math.sqrt(n) / sd, n - 1)


def _largest_means(
    differences: Float[np.ndarray, "cell prompt"], seed: int, n_draws: int
) -> Float[np.ndarray, " draw"]:
    """The largest mean over cells after weighting each prompt at random, the same in all cells."""
    n_prompts = differences.shape[1]
    small, large = (1 - math.sqrt(5)) / 2, (1 + math.sqrt(5)) / 2
    # The small one comes with probability large / √5.
    is_small = np.random.default_rng(seed).random((n_draws, n_prompts)) < large / math.sqrt(5)
    return (np.where(is_small, small, large) @ differences.T).max(axis=1) / n_prompts


def sign_flip(
    differences: Float[np.ndarray, "cell item"], *, seed: int = 0, n_flips: int = 5000
) -> Float[np.ndarray, " cell"]:
    """One-sided p of each cell by itself, for a mean difference above zero.

    The sign of each item's difference is flipped at random and t compared with that of the flips;
    `max_statistic` is the same corrected for the number of cells. A cell with a NaN item has a NaN p.
    """
    n_cells, n_items = differences.shape
    if n_items < 2:
        return np.full(n_cells, math.nan)
    observed, flipped = _flips(differences, seed, n_flips)
    return _p_of(flipped, observed)


def _p_of(
    drawn: Float[np.ndarray, "draw _cell"], observed: Float[np.ndarray, " cell"]
) -> Float[np.ndarray, " cell"]:
    """Share of draws that reach what was observed, never 0; NaN where either is not known."""
    p = (1 + (drawn >= observed - 1e-12).sum(axis=0)) / (len(drawn) + 1)
    return np.where(np.isnan(observed) | np.isnan(drawn).any(axis=0), math.nan, p)


def _flips(
    differences: Float[np.ndarray, "cell item"], seed: int, n_flips: int
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, "flip cell"]]:
    """What every cell has as it is, and after flipping the sign of each item, the same in all cells."""
    n_items = differences.shape[1]
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(n_flips, n_items))
    observed = _consistency(differences, np.ones((1, n_items)))[0]
    return observed, _consistency(differences, signs)


def _consistency(
    differences: Float[np.ndarray, "cell prompt"], signs: Float[np.ndarray, "flip prompt"]
) -> Float[np.ndarray, "flip cell"]:
    """Mean of every cell over its root mean square under every flip; 0 where a cell is 0 throughout.

    It is c = t / √(n - 1 + t²), so that it orders as t does, within a cell and between them. t itself is no number
    where all items are alike: rounding then tells the flip that changes nothing from what was observed, and p comes
    out below 1 / 2ⁿ, which no test by signs of n items can reach.
    """
    n = differences.shape[1]
    second = (differences**2).sum(axis=1) / n  # unchanged by flips
    size = np.sqrt(np.where(second == 0, 1.0, second))
    return signs @ differences.T / n / size
