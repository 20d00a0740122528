"""Who predicts steerability: diagnostics of layers against what was measured there, on a table.

The table has one row per model, concept and layer, with the columns `model`, `concept`, `layer`,
one column per diagnostic and one per outcome. Layers are ranked within each model and concept.
A model's layers are dealt out anew as a whole, the same for all its concepts, since one model's
concepts share their layers: eight layers under three concepts are no 24 independent points. And they
are dealt out in pieces, since layers are alike to their neighbours: thirty are no 30 independent ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from steerscope.errors import BadValueError
from steerscope.statistics import benjamini_hochberg, clustered_mean, holm
from steerscope.studies.predictors.over_layers import (
    GROUP,
    grouped_correlation,
    layer_correlation,
    least_p,
    with_outcome,
)

_REGRET = (
    "model", "concept", "picked", "best", "regret", "regret_middle", "regret_random", "range",
)  # fmt: skip
_FEWEST = 3  # models, or concepts of one, of an interval
_LEFT_OUT = (*_REGRET, "diagnostic", "rho_of_others", "chosen")

# The sign that each diagnostic should have if it does what it is used for, stated beforehand.
EXPECTED_SIGNS: Mapping[str, int] = {
    "residual_norm": -1,
    "residual_norm_with_first": -1,
    "separation": 1,
    "signal_to_noise": 1,
    "pair_stability": 1,
    "half_agreement": 1,
    "probe_accuracy": 1,
    "logistic_probe_accuracy": 1,
    "explained_variance": 1,
    "visible_share": 1,
    "gradient": 1,
    "kl_sensitivity": 1,
    "lens_agreement": -1,
    "lens_kl": 1,
    "weakest_gap": -1,
    "mean_gap": -1,
    "participation_ratio": 1,
}


def selection_regret(
    table: pd.DataFrame, diagnostic: str, outcome: str, *, sign: int
) -> pd.DataFrame:
    """What is lost by taking the layer that a diagnostic picks, one row per model and concept.

    Columns: model, concept, picked, best (layers); regret, regret_middle, regret_random: outcome of
    the best layer minus that of the picked, of the middle, and of the mean layer, in the unit of the
    outcome; range: best minus worst. Layers without an outcome are left out, as are concepts without any; where
    the middle layer is one of them, what it loses is NaN.

    The best layer is that of the same noisy outcome, so that its lead is partly luck and every regret too large by
    the same: only the difference of two of them, as of a diagnostic's and the middle layer's, says what a pick is
    worth.

    Args:
        table: one row per model, concept and layer.
        diagnostic: column whose largest value is picked, or smallest where `sign` is -1.
        outcome: column of the measured steerability.
        sign: +1 or -1.

    Raises:
        BadValueError: the sign is neither, or the diagnostic is missing at a layer.
    """
    if sign not in {1, -1}:
        raise BadValueError(f"the sign {sign} of {diagnostic} is neither 1 nor -1.")
    rows = []
    for (model, concept), group in with_outcome(table, outcome).groupby(GROUP):
        layers = group.dropna(subset=outcome).sort_values("layer").reset_index(drop=True)
        if layers[diagnostic].isna().any():
            raise BadValueError(f"{diagnostic} is missing at a layer of {model} for {concept}.")
        effects, everyone = layers[outcome], group.sort_values("layer").layer
        middle = effects[layers.layer == everyone.iloc[len(everyone) // 2]]
        picked, best = (sign * layers[diagnostic]).idxmax(), effects.idxmax()
        rows.append(
            {
                "model": model,
                "concept": concept,
                "picked": int(layers.layer[picked]),
                "best": int(layers.layer[best]),
                "regret": float(effects[best] - effects[picked]),
                "regret_middle": float(effects[best] - middle.mean()),
                "regret_random": float(effects[best] - effects.mean()),
                "range": float(effects[best] - effects.min()),
            }
        )
    return pd.DataFrame(rows, columns=_REGRET)


def leave_one_concept_out(
    table: pd.DataFrame, diagnostics: Sequence[str], outcome: str
) -> pd.DataFrame:
    """Regret on each concept when sign and diagnostic are learnt from the other concepts alone.

    One row per model, held-out concept and diagnostic, with the sign and |rho| that the others gave;
    `chosen` marks the diagnostic that one would have taken, the one with the largest |rho|. No row where
    no diagnostic has a rho on the others.

    Raises:
        BadValueError: fewer than two concepts.
    """
    return _leave_one_out(table, diagnostics, outcome, "concept")


def leave_one_model_out(
    table: pd.DataFrame, diagnostics: Sequence[str], outcome: str
) -> pd.DataFrame:
    """Regret on each model when sign and diagnostic are learnt from the other models alone.

    As `leave_one_concept_out`.

    Raises:
        BadValueError: fewer than two models.
    """
    return _leave_one_out(table, diagnostics, outcome, "model")


def _leave_one_out(
    table: pd.DataFrame, diagnostics: Sequence[str], outcome: str, by: str
) -> pd.DataFrame:
    table = with_outcome(table, outcome)
    names = sorted(table[by].unique())
    if len(names) < 2:
        raise BadValueError(f"leaving one {by} out needs at least 2 {by}s with a known {outcome}.")
    parts = []
    for one in names:
        others, held_out = table[table[by] != one], table[table[by] == one]
        learnt = {name: layer_correlation(others, name, outcome) for name in diagnostics}
        usable = {name: rho for name, rho in learnt.items() if math.isfinite(rho)}
        chosen = max(usable, key=lambda name: abs(usable[name]), default=None)
        for name, rho in usable.items():
            found = selection_regret(held_out, name, outcome, sign=1 if rho >= 0 else -1)
            parts.append(found.assign(diagnostic=name, rho_of_others=rho, chosen=name == chosen))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_LEFT_OUT)


def predictor_league(
    table: pd.DataFrame,
    diagnostics: Sequence[str],
    outcome: str,
    *,
    controls: Sequence[str] = ("depth", "norm"),
    seed: int = 0,
    n_resamples: int = 1000,
) -> pd.DataFrame:
    """Every diagnostic against one outcome, one row each, the largest |rho| first.

    Columns: diagnostic, expected_sign (0 if none was stated); rho, low, high, p, p_holm, q_bh;
    partial_rho, partial_p with the controls held fixed; regret with its interval (Student's t, over models, of
    one model over its concepts; NaN for fewer than three of them) for the layer that the diagnostic picks by
    the expected sign, beside regret_middle and regret_random; n_points, n_layers and n_groups behind them, and least_p, below which no p can fall.
    Concepts without an outcome at any layer, as where none reaches the matched KL, are in none of it.

    Args:
        table: one row a layer, as `predictor_table` gives it.
        diagnostics: columns of the table.
        outcome: the column that is predicted.
        controls: columns held fixed in the partial correlation.
        seed: of bootstraps and random orders.
        n_resamples: random orders of the layers, where not all are tried.

    Returns:
        One row a diagnostic, with the columns above.

    Raises:
        BadValueError: a column is missing.
    """
    table, rows = with_outcome(table, outcome), []
    for name in diagnostics:
        simple = grouped_correlation(table, name, outcome, seed=seed, n_resamples=n_resamples)
        partial = grouped_correlation(
            table, name, outcome, controls=controls, seed=seed, n_resamples=n_resamples
        )
        row = {"diagnostic": name, "expected_sign": EXPECTED_SIGNS.get(name, 0)}
        row |= {"rho": simple.rho, "low": simple.low, "high": simple.high, "p": simple.p}
        row |= {"partial_rho": partial.rho, "partial_p": partial.p, "n_points": simple.n}
        rows.append(row | _mean_regret(table, name, outcome))
    league = pd.DataFrame(rows)
    p = league.p.to_numpy(float)
    league.insert(6, "p_holm", holm(p))
    league.insert(7, "q_bh", benjamini_hochberg(p))
    ranked = table[table[outcome].notna()]
    league["n_layers"] = len(ranked[["model", "layer"]].drop_duplicates())
    league["n_groups"] = len(ranked[GROUP].drop_duplicates())
    league["least_p"] = least_p(ranked, n_resamples)
    order = league.rho.abs().sort_values(ascending=False, na_position="last").index
    return league.loc[order].reset_index(drop=True)


def _mean_regret(table: pd.DataFrame, diagnostic: str, outcome: str) -> dict[str, float]:
    found = selection_regret(table, diagnostic, outcome, sign=EXPECTED_SIGNS.get(diagnostic, 1))
    # Concepts of one model share its layers, so that models are drawn where there are several.
    drawn = found.model if found.model.nunique() > 1 else found.concept
    mean = clustered_mean(found.regret.to_numpy(float), drawn.to_numpy(str))
    told = mean.n >= _FEWEST
    return {
        "regret": mean.value,
        "regret_low": max(0.0, mean.low) if told else math.nan,  # no regret is below 0
        "regret_high": mean.high if told else math.nan,
        "regret_middle": float(found.regret_middle.mean(skipna=False)),
        "regret_random": float(found.regret_random.mean()),
    }
