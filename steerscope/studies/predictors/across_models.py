"""Who predicts steerability, over models: each model is one draw, and its layers and concepts are its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from steerscope.errors import BadValueError
from steerscope.statistics import CONFIDENCE, holm, power_of
from steerscope.studies.predictors.over_layers import (
    cosine_of,
    cosines_at,
    grids_of,
    layer_correlation,
    layer_orders,
    residual_ranks,
)
from steerscope.studies.predictors.power import LEVEL

FEWEST = 3  # models of a mean over models
_SAME = 1e-9  # correlations that differ by rounding alone


def rho_by_model(table: pd.DataFrame, diagnostic: str, outcome: str) -> pd.Series:
    """Spearman correlation over the layers of each model, all its concepts together; NaN where a side is flat.

    Args:
        table: one row per model, concept and layer.
        diagnostic: column of the predictor.
        outcome: column of the measured steerability.

    Raises:
        BadValueError: a column is missing, or the concepts of a model have different layers.
    """
    return pd.Series(
        {
            str(model): layer_correlation(part, diagnostic, outcome)
            for model, part in table.groupby("model")
        },
        dtype=float,
    )


def across_models(table: pd.DataFrame, diagnostics: Sequence[str], outcome: str) -> pd.DataFrame:
    """Mean correlation over models of every diagnostic, one row each, the largest |rho| first.

    rho is the mean of `rho_by_model`, with the interval and the two-sided p of Student's t over models, so
    that it speaks of models like these and not of these alone. p is never below 2 / 2ⁿ, the chance that n
    models agree in sign, since the correlations over few layers are few numbers and no normal ones. A
    model in which a diagnostic does not vary is left out of its mean; where all have the same rho there is
    neither interval nor p.

    Columns: diagnostic, rho, low, high, p, p_holm, positive (share of models), n_models.

    Args:
        table: see `rho_by_model`.
        diagnostics: columns of the predictors.
        outcome: see `rho_by_model`.

    Raises:
        BadValueError: fewer than three models.
    """
    n_models = table.model.nunique()
    if n_models < FEWEST:
        raise BadValueError(
            f"{n_models} models; a mean over models needs at least {FEWEST}. Over the layers of one, "
            "take predictor_league."
        )
    rows = []
    for name in diagnostics:
        rho = rho_by_model(table, name, outcome).dropna()
        told = len(rho) >= FEWEST and float(rho.std(ddof=1)) > _SAME
        test = stats.ttest_1samp(rho, 0.0) if told else None
        interval = test.confidence_interval(CONFIDENCE) if test else (math.nan, math.nan)
        rows.append(
            {
                "diagnostic": name,
                "rho": float(rho.mean()),
                "low": float(interval[0]),
                "high": float(interval[1]),
                "p": max(float(test.pvalue), _least_p(len(rho))) if test else math.nan,
                "positive": float((rho > 0).mean()) if len(rho) else math.nan,
                "n_models": len(rho),
            }
        )
    found = pd.DataFrame(rows)
    found.insert(5, "p_holm", holm(found.p.to_numpy()))
    order = found.rho.abs().sort_values(ascending=False, kind="stable").index
    return found.loc[order].reset_index(drop=True)


def power_across_models(
    table: pd.DataFrame,
    outcome: str,
    rho: float,
    n_diagnostics: int = 1,
    *,
    seed: int = 0,
    n_orders: int = 1000,
) -> float:
    """Chance that `across_models` tells a correlation of this size, of models whose layers are as alike as these.

    By the spread over models of a rank correlation where there is none, at the level that the largest of so
    many diagnostics has to meet; none where so few models cannot meet it. The spread of a model is that of its
    outcome with itself in orders that keep neighbours, as of `power_over_layers`: wider than the 1 / √(layers - 1) of
    layers that have nothing to do with each other, and narrower where concepts differ.

    Args:
        table: as of `rho_by_model`, with the outcome alone.
        outcome: the column that is predicted; models where it is flat or unknown do not count.
        rho: the correlation, within every model.
        n_diagnostics: that the p value is corrected for.
        seed: of random orders.
        n_orders: of them, of a model of more than 8 layers.

    Raises:
        BadValueError: a column is missing, or fewer than two models are left.
    """
    rng, squares = np.random.default_rng(seed), []
    for _, part in table.groupby("model"):
        sides = residual_ranks(grids_of(part, [outcome, outcome]))
        if not math.isnan(cosine_of(sides)):
            orders, _ = layer_orders([y.shape[1] for _, y in sides], n_orders, rng)
            squares.append(float((cosines_at(sides, orders) ** 2).mean()))
    if len(squares) < 2:
        raise BadValueError("power over models needs two models whose outcome varies at least.")
    if _least_p(len(squares)) > LEVEL / n_diagnostics:
        return 0.0
    spread = math.sqrt(float(np.mean(squares)))
    return power_of(rho, spread, len(squares), level=LEVEL / n_diagnostics)


def _least_p(n_models: int) -> float:
    return 2.0 ** (1 - n_models)
