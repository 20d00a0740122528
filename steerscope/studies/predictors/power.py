"""Which correlations over layers would be told, of as many layers, as alike to their neighbours, as were measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from steerscope.errors import BadValueError
from steerscope.statistics import CONFIDENCE, interval_by_chance, random_block_orders
from steerscope.studies.predictors.over_layers import (
    NOTHING,
    Grid,
    cosine_of,
    cosines_at,
    grids_of,
    layer_orders,
    residual_ranks,
)

LEVEL = 0.05
_POWER = 0.8


def detectable_over_layers(
    table: pd.DataFrame, diagnostic: str, outcome: str, *, seed: int = 0, n_resamples: int = 1000
) -> float:
    """The correlation that would be told at p 0.05 four times out of five; NaN where none is known.

    tanh(q (1 + 0.84 / 1.96)), with q as of `interval_by_chance`: an estimate varies about the truth as one by
    chance does about 0, on Fisher's scale.

    Args:
        table: as of `grouped_correlation`, like the others.
        diagnostic: see there.
        outcome: see there.
        seed: see there.
        n_resamples: see there.

    Raises:
        BadValueError: a column is missing.
    """
    sides = residual_ranks(grids_of(table, [diagnostic, outcome]))
    rng = np.random.default_rng(seed)
    orders, _ = layer_orders([x.shape[1] for x, _ in sides], n_resamples, rng)
    if math.isnan(cosine_of(sides)):
        return math.nan
    _, width = interval_by_chance(0.0, cosines_at(sides, orders))
    middle = stats.norm.ppf(_POWER) / stats.norm.ppf((1 + CONFIDENCE) / 2)
    return float(np.tanh(np.arctanh(width) * (1 + middle)))


def power_over_layers(
    table: pd.DataFrame,
    outcome: str,
    rho: float,
    n_diagnostics: int = 1,
    *,
    seed: int = 0,
    n_trials: int = 200,
    n_orders: int = 1000,
) -> float:
    """How often the league would tell a diagnostic that correlates so with the outcome over these layers.

    Such a diagnostic is made n_trials times: ρ parts of the outcome's ranks and √(1 - ρ²) parts of themselves in an
    order that keeps neighbours, freed of what it shares with them, so that it is as alike to its neighbours as the
    outcome is and correlates by ρ, before it is ranked itself. Its p counts n_diagnostics times (Bonferroni,
    which Holm's is never above). The share has a standard error of at most 0.5 / √n_trials. NaN where the outcome does
    not vary.

    Args:
        table: as of `predictor_league`.
        outcome: the column that is predicted.
        rho: the correlation.
        n_diagnostics: that the p value is corrected for, by their number.
        seed: of the diagnostics and the orders.
        n_trials: diagnostics.
        n_orders: of which p is the share that does as well.

    Raises:
        BadValueError: a column is missing, no diagnostic, or a correlation beyond 1.
    """
    if n_diagnostics < 1 or not -1 <= rho <= 1:
        raise BadValueError(
            "power is of a correlation between -1 and 1 and of 1 diagnostic or more."
        )
    ranks = [y for _, y in residual_ranks(grids_of(table, [outcome, outcome]))]
    if math.isnan(cosine_of([(y, y) for y in ranks])):
        return math.nan
    rng = np.random.default_rng(seed)
    orders, counted = layer_orders([y.shape[1] for y in ranks], n_orders, rng)
    told = 0
    for _ in range(n_trials):
        made = _made_to_correlate(ranks, rho, rng)
        sides = residual_ranks([[x, y] for x, y in zip(made, ranks, strict=True)])
        extreme = np.abs(cosines_at(sides, orders)) >= abs(cosine_of(sides)) - 1e-12
        p = (counted + extreme.sum()) / (counted + len(extreme))
        told += bool(p * n_diagnostics <= LEVEL)
    return told / n_trials


def _made_to_correlate(ranks: Sequence[Grid], rho: float, rng: np.random.Generator) -> list[Grid]:
    """Curves that correlate with these by rho, over all of them together, and are as alike to their neighbours."""
    noise = [y[:, random_block_orders(y.shape[1], 1, rng)[0]] for y in ranks]
    square = sum(float((y**2).sum()) for y in ranks)
    shared = sum(float((e * y).sum()) for e, y in zip(noise, ranks, strict=True)) / square
    noise = [e - shared * y for e, y in zip(noise, ranks, strict=True)]
    left = math.sqrt(sum(float((e**2).sum()) for e in noise) / square)
    size = math.sqrt(1 - rho**2) / left if left > NOTHING else 0.0
    return [rho * y + size * e for e, y in zip(noise, ranks, strict=True)]
