"""The best cell of a sweep, and what it is worth once the choosing is allowed for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from steerscope.errors import NotFiniteError, TooLittleDataError
from steerscope.statistics.intervals import Estimate, bootstrap_mean

_FEWEST = 4  # prompts: two to choose on and two to estimate on


@dataclass(frozen=True)
class BestCell:
    """The cell that a sweep would choose, and its effect.

    Attributes:
        cell: its row.
        naive: its effect on the prompts that chose it, which is too good.
        corrected: effect, on prompts that had no say, of the cell that half of the prompts choose.
        same_share: how often half of the prompts choose this very cell.
    """

    cell: int
    naive: Estimate
    corrected: Estimate
    same_share: float


def best_cell(
    values: Float[np.ndarray, "cell prompt"],
    *,
    margin: float = 0.0,
    seed: int = 0,
    n_splits: int = 500,
) -> BestCell:
    """Effect of a sweep's best cell, corrected for having been chosen as the best of many.

    The prompts are split into halves at random, many times; one half chooses a cell and the other
    estimates its effect, then the other way round. A prompt is thus scored by cells that it had no
    say in, vᵢ = mean over splits of the effect on i of the cell chosen without i; the estimate is
    the mean of v. Its interval is that of the naive estimate, moved: one over v would be too narrow,
    since v is a mean over many cells while the claim is about one. Half of the prompts choose worse
    than all of them, so that the corrected effect is if anything too small.

    Args:
        values: effect of each cell on each prompt, cells in order of preference.
        margin: see `winners`.
        seed: of splits and resamples.
        n_splits: number of splits.

    Raises:
        TooLittleDataError: no cell, or fewer than four prompts.
        NotFiniteError: a cell lacks a prompt.

    Source: repeated half-splits; the idea is that of selective inference by data splitting, Cox 1975.
    """
    n_cells, n = values.shape
    if not n_cells or n < _FEWEST:
        raise TooLittleDataError(
            f"correcting a choice needs at least 1 cell and {_FEWEST} prompts, got {n_cells} and {n}."
        )
    if not np.isfinite(values).all():
        raise NotFiniteError("a cell lacks some of the prompts; keep the prompts that all have.")
    best = int(winners(values, np.ones((1, n), bool), margin=margin)[0])
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (n_splits, 1)), axis=1)
    choosing = order < n // 2
    choosing = np.concatenate([choosing, ~choosing])
    chosen = winners(values, choosing, margin=margin)
    score = (values[chosen] * ~choosing).sum(axis=0) / (~choosing).sum(axis=0)
    naive = bootstrap_mean(values[best], seed=seed)
    moved = float(score.mean()) - naive.value
    corrected = Estimate(naive.value + moved, naive.low + moved, naive.high + moved, n)
    return BestCell(best, naive, corrected, float((chosen == best).mean()))


def winners(
    values: Float[np.ndarray, "cell prompt"],
    choosing: Bool[np.ndarray, "sample prompt"],
    *,
    margin: float = 0.0,
) -> Int[np.ndarray, " sample"]:
    """The cell that each set of prompts chooses.

    It is the first of those whose mean lies within `margin`, a share of the largest mean, of the
    largest.
    """
    means = choosing @ values.T / choosing.sum(axis=1, keepdims=True)
    best = means.max(axis=1, keepdims=True)
    return (means >= best - margin * np.abs(best) - 1e-12).argmax(axis=1)
