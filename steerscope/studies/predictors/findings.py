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

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from steerscope.errors import BadValueError
from steerscope.statistics import (
    MOST_ITEMS,
    Correlation,
    benjamini_hochberg,
    bootstrap_mean,
    every_block_order,
    holm,
    interval_by_chance,
    random_block_orders,
)

GROUP = ["model", "concept"]
LEVEL = 0.05
_LEFT_OUT = (
    "model", "concept", "picked", "best", "regret", "regret_middle", "regret_random", "range",
    "diagnostic", "rho_of_others", "chosen",
)  # fmt: skip
_MOST_ORDERS = 50_000  # of which all are tried

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

_Grid = Float[np.ndarray, "_ _"]  # concepts by layers, of which each model has its own number


def layer_correlation(table: pd.DataFrame, diagnostic: str, outcome: str) -> float:
    """The rho of `grouped_correlation` alone."""
    grids = _grids(table, [diagnostic, outcome])
    whole = [np.arange(g[0].shape[1]) for g in grids]
    return _cosine(_residual_ranks(grids, whole), whole)


def grouped_correlation(
    table: pd.DataFrame,
    diagnostic: str,
    outcome: str,
    *,
    controls: Sequence[str] = (),
    seed: int = 0,
    n_resamples: int = 1000,
) -> Correlation:
    """Signed Spearman correlation over layers, within models and concepts.

    With controls it is the partial one: their ranks are regressed out of both sides. The p value is
    two-sided, the share of the orders of the outcome's layers (its residuals, with controls) that do as well,
    in which most layers keep their neighbours: exact, over all of `every_block_order`, where there are few (one
    model of up to 8 layers), else over n_resamples random ones. The interval is `interval_by_chance`, and NaN for ranks in
    perfect order. NaN in everything but n where a side does not vary, which is so for a diagnostic that
    is one of its own controls.

    Args:
        table: one row per model, concept and layer; every concept of a model has the same layers.
        diagnostic: column of the predictor.
        outcome: column of the measured steerability; layers where it is NaN are left out.
        controls: columns to hold fixed.
        seed: of random orders.
        n_resamples: number of them.

    Raises:
        BadValueError: a column is missing, or the concepts of a model have different layers.

    Source: permutation of residuals by Freedman & Lane 1983; blocks in place of single layers.
    """
    grids = _grids(table, [diagnostic, outcome, *controls])
    n = sum(g[0].size for g in grids)
    whole = [np.arange(g[0].shape[1]) for g in grids]
    sides = _residual_ranks(grids, whole)
    rho = _cosine(sides, whole)
    if math.isnan(rho):
        return Correlation(math.nan, math.nan, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    orders, counted = _orders([len(layers) for layers in whole], n_resamples, rng)
    chance = _cosines(sides, orders)
    extreme = np.abs(chance) >= abs(rho) - 1e-12
    p = float((counted + extreme.sum()) / (counted + len(extreme)))
    return Correlation(rho, *interval_by_chance(rho, chance), p, n)


def _orders(
    sizes: Sequence[int], n: int, rng: np.random.Generator
) -> tuple[list[Int[np.ndarray, "order _"]], int]:
    """All orders of the layers of each model where there are few together, else n random ones.

    The number beside them is 1 where the observed order is still to be counted among them.
    """
    if max(sizes, default=0) <= MOST_ITEMS:
        each = [every_block_order(size) for size in sizes]
        counts = [len(orders) for orders in each]
        if math.prod(counts) <= _MOST_ORDERS:
            which = np.indices(counts).reshape(len(sizes), -1)  # every combination of one a model
            return [orders[chosen] for orders, chosen in zip(each, which, strict=True)], 0
    return [random_block_orders(size, n, rng) for size in sizes], 1


def _cosines(
    sides: Sequence[tuple[_Grid, _Grid]], orders: Sequence[Int[np.ndarray, "order _"]]
) -> Float[np.ndarray, " order"]:
    """`_cosine` at many orders: Σ x y of every two layers is summed over concepts once."""
    products = [
        (x.T @ y)[np.arange(order.shape[1]), order].sum(axis=1)
        for (x, y), order in zip(sides, orders, strict=True)
    ]
    lengths = [math.sqrt(sum(float((s[i] ** 2).sum()) for s in sides)) for i in (0, 1)]
    return np.sum(products, axis=0) / (lengths[0] * lengths[1])


def _grids(table: pd.DataFrame, columns: Sequence[str]) -> list[list[_Grid]]:
    """Per model, each column as a grid of concepts by layers; layers with a NaN are left out."""
    missing = [c for c in (*GROUP, "layer", *columns) if c not in table.columns]
    if missing:
        raise BadValueError(f"the table of predictors has no column {', '.join(missing)}.")
    models = []
    for model, rows in table.groupby("model"):
        if rows.duplicated(["concept", "layer"]).any():
            raise BadValueError(f"{model} has two rows of the same concept and layer.")
        if len(rows) != rows.concept.nunique() * rows.layer.nunique():
            raise BadValueError(f"the concepts of {model} were not measured at the same layers.")
        grids = [
            rows.pivot(index="concept", columns="layer", values=c).to_numpy(float) for c in columns
        ]
        kept = np.logical_and.reduce([np.isfinite(g).all(axis=0) for g in grids])
        models.append([g[:, kept] for g in grids])
    return models


def _residual_ranks(
    grids: Sequence[Sequence[_Grid]], layers: Sequence[Int[np.ndarray, " _"]]
) -> list[tuple[_Grid, _Grid]]:
    """Per model, centred ranks of diagnostic and outcome at these layers, controls regressed out."""
    sides = []
    for columns, chosen in zip(grids, layers, strict=True):
        ranks = [stats.rankdata(g[:, chosen], axis=1) for g in columns]
        centred = [r - r.mean(axis=1, keepdims=True) for r in ranks]
        x, y = centred[0], centred[1]
        if len(centred) > 2:
            basis = np.stack(centred[2:], axis=2)
            # Layers by layers, one per concept: the projection on the controls' ranks.
            onto = basis @ np.linalg.pinv(basis)
            x, y = (s - (onto @ s[..., None])[..., 0] for s in (x, y))
        sides.append((x, y))
    return sides


def _cosine(sides: Sequence[tuple[_Grid, _Grid]], order: Sequence[Int[np.ndarray, " _"]]) -> float:
    """Correlation of centred sides, the layers of the outcome taken in this order."""
    product = sum(float((x * y[:, o]).sum()) for (x, y), o in zip(sides, order, strict=True))
    lengths = [math.sqrt(sum(float((s[i] ** 2).sum()) for s in sides)) for i in (0, 1)]
    if min(lengths) < 1e-6:
        return math.nan
    return product / (lengths[0] * lengths[1])


def selection_regret(
    table: pd.DataFrame, diagnostic: str, outcome: str, *, sign: int
) -> pd.DataFrame:
    """What is lost by taking the layer that a diagnostic picks, one row per model and concept.

    Columns: model, concept, picked, best (layers); regret, regret_middle, regret_random: outcome of
    the best layer minus that of the picked, of the middle, and of the mean layer, in the unit of the
    outcome; range: best minus worst. Layers without an outcome are left out.

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
    for (model, concept), group in table.groupby(GROUP):
        layers = group.dropna(subset=outcome).sort_values("layer").reset_index(drop=True)
        if layers.empty:
            raise BadValueError(f"{model} has no {outcome} for {concept}.")
        if layers[diagnostic].isna().any():
            raise BadValueError(f"{diagnostic} is missing at a layer of {model} for {concept}.")
        effects = layers[outcome]
        picked, best = (sign * layers[diagnostic]).idxmax(), effects.idxmax()
        rows.append(
            {
                "model": model,
                "concept": concept,
                "picked": int(layers.layer[picked]),
                "best": int(layers.layer[best]),
                "regret": float(effects[best] - effects[picked]),
                "regret_middle": float(effects[best] - effects[len(layers) // 2]),
                "regret_random": float(effects[best] - effects.mean()),
                "range": float(effects[best] - effects.min()),
            }
        )
    return pd.DataFrame(rows)


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
    names = sorted(table[by].unique())
    if len(names) < 2:
        raise BadValueError(f"leaving one {by} out needs at least 2 {by}s.")
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
    partial_rho, partial_p with the controls held fixed; regret with its interval over models and
    concepts for the layer that the diagnostic picks by the expected sign, beside regret_middle and
    regret_random; n_points, n_layers and n_groups behind them.

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
    rows = []
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
    league["n_layers"] = len(table[["model", "layer"]].drop_duplicates())
    league["n_groups"] = len(table[GROUP].drop_duplicates())
    order = league.rho.abs().sort_values(ascending=False, na_position="last").index
    return league.loc[order].reset_index(drop=True)


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
    """Chance that the league tells a diagnostic of this correlation with the outcome, over the layers of the table.

    Such a diagnostic is made n_trials times: ρ parts of the outcome's ranks and √(1 - ρ²) parts of themselves
    in one of the orders that keep neighbours, which are as alike to their neighbours as layers are.

    Args:
        table: as of `predictor_league`.
        outcome: the column that is predicted.
        rho: the correlation, within every concept.
        n_diagnostics: that the p value is corrected for, by their number.
        seed: of the diagnostics and the orders.
        n_trials: diagnostics.
        n_orders: of which p is the share that does as well.

    Raises:
        BadValueError: a column is missing.
    """
    grids = _grids(table, [outcome, outcome])
    ranks = [y for _, y in _residual_ranks(grids, [np.arange(g[0].shape[1]) for g in grids])]
    sizes, rng = [y.shape[1] for y in ranks], np.random.default_rng(seed)
    orders, counted = _orders(sizes, n_orders, rng)
    told = 0
    for _ in range(n_trials):
        noise = [random_block_orders(size, 1, rng)[0] for size in sizes]
        made = [
            rho * y + math.sqrt(1 - rho**2) * y[:, order]
            for y, order in zip(ranks, noise, strict=True)
        ]
        sides = _residual_ranks(
            [[x, y] for x, y in zip(made, ranks, strict=True)], list(map(np.arange, sizes))
        )
        observed = _cosine(sides, list(map(np.arange, sizes)))
        extreme = np.abs(_cosines(sides, orders)) >= abs(observed) - 1e-12
        p = (counted + extreme.sum()) / (counted + len(extreme))
        told += bool(p * n_diagnostics <= LEVEL)
    return told / n_trials


def _mean_regret(table: pd.DataFrame, diagnostic: str, outcome: str) -> dict[str, float]:
    found = selection_regret(table, diagnostic, outcome, sign=EXPECTED_SIGNS.get(diagnostic, 1))
    mean = bootstrap_mean(found.regret.to_numpy(float))
    return {
        "regret": mean.value,
        "regret_low": mean.low,
        "regret_high": mean.high,
        "regret_middle": float(found.regret_middle.mean()),
        "regret_random": float(found.regret_random.mean()),
    }
