"""Who predicts steerability, over models: each model is one draw, and its layers and concepts are its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from steerscope.errors import BadValueError
from steerscope.statistics import CONFIDENCE, holm, power_of
from steerscope.studies.predictors.over_layers import layer_correlation
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


def power_across_models(rho: float, n_layers: Sequence[int], n_diagnostics: int = 1) -> float:
    """Chance that `across_models` tells a correlation of this size, as it is before anything is measured.

    By the spread of a rank correlation where there is none, 1 / √(layers - 1), the concepts of a model
    being no help, at the level that the largest of so many diagnostics has to meet; none where so few models
    cannot meet it.

    Args:
        rho: the correlation, within every model.
        n_layers: of each model.
        n_diagnostics: that the p value is corrected for.

    Raises:
        BadValueError: fewer than two models, or one of fewer than two layers.
    """
    if len(n_layers) < 2 or min(n_layers) < 2:
        raise BadValueError("power over models needs two models of two layers at least.")
    if _least_p(len(n_layers)) > LEVEL / n_diagnostics:
        return 0.0
    spread = math.sqrt(float(np.mean([1 / (n - 1) for n in n_layers])))
    return power_of(rho, spread, len(n_layers), level=LEVEL / n_diagnostics)


def _least_p(n_models: int) -> float:
    return 2.0 ** (1 - n_models)
