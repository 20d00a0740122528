"""Rank correlation over the layers of models: within each concept, by orders of layers that keep neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from steerscope.errors import BadValueError
from steerscope.statistics import (
    CONFIDENCE,
    MOST_ITEMS,
    Correlation,
    every_block_order,
    interval_by_chance,
    random_block_orders,
)

GROUP = ["model", "concept"]
Grid = Float[np.ndarray, "_ _"]  # concepts by layers, of which each model has its own number
NOTHING = 1e-6  # the length of ranks that do not vary, but for rounding
_MOST_ORDERS = 50_000  # of which all are tried


def layer_correlation(table: pd.DataFrame, diagnostic: str, outcome: str) -> float:
    """The rho of `grouped_correlation` alone."""
    return cosine_of(residual_ranks(grids_of(table, [diagnostic, outcome])))


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
    two-sided, the share of the orders of the outcome's layers (its residuals, with controls, which are
    regressed out once more of what was dealt out) that do as well, in which most layers keep their neighbours: exact, over all of `every_block_order`, where there are few (one
    model of up to 8 layers), else over n_resamples random ones. The interval is the wider of
    `interval_by_chance` and of the concepts drawn again, on either side, since concepts may disagree. It is NaN
    for ranks in perfect order. NaN in everything but n where a side does not vary, which is so for a
    diagnostic that is one of its own controls.

    Args:
        table: one row per model, concept and layer; every concept of a model has the same layers.
        diagnostic: column of the predictor.
        outcome: column of the measured steerability; layers where it is NaN are left out, and concepts where
            it is NaN everywhere.
        controls: columns to hold fixed.
        seed: of random orders.
        n_resamples: number of them.

    Raises:
        BadValueError: a column is missing, or the concepts of a model have different layers.

    Source: permutation of residuals by Freedman & Lane 1983; blocks in place of single layers.
    """
    grids = grids_of(table, [diagnostic, outcome, *controls])
    n = sum(g[0].size for g in grids)
    sides = residual_ranks(grids)
    rho = cosine_of(sides)
    if math.isnan(rho):
        return Correlation(math.nan, math.nan, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    orders, counted = layer_orders([x.shape[1] for x, _ in sides], n_resamples, rng)
    chance = cosines_at(sides, orders, control_bases(grids))
    extreme = np.abs(chance) >= abs(rho) - 1e-12
    p = float((counted + extreme.sum()) / (counted + len(extreme)))
    low, high = interval_by_chance(rho, chance)
    others = _of_concepts(sides, n_resamples, rng)
    if len(others) and low == low:
        tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        lowest, highest = np.quantile(others, tails)
        low, high = min(low, float(lowest)), max(high, float(highest))
    return Correlation(rho, low, high, p, n)


def _of_concepts(
    sides: Sequence[tuple[Grid, Grid]], n: int, rng: np.random.Generator
) -> Float[np.ndarray, " draw"]:
    """The correlation over concepts of each model drawn again; nothing for one concept."""
    parts = np.concatenate(
        [np.stack([(x * y).sum(1), (x * x).sum(1), (y * y).sum(1)]) for x, y in sides], axis=1
    )
    if parts.shape[1] < 2:
        return np.empty(0)
    drawn = rng.multinomial(parts.shape[1], np.full(parts.shape[1], 1 / parts.shape[1]), size=n)
    together, xs, ys = parts @ drawn.T
    length = np.sqrt(xs * ys)
    known = length > NOTHING
    return np.asarray(together[known] / length[known])


def layer_orders(
    sizes: Sequence[int], n: int, rng: np.random.Generator
) -> tuple[list[Int[np.ndarray, "order _"]], int]:
    """All orders of the layers of each model where there are few together, else n random ones.

    The number beside them is 1 where the observed order is still to be counted among them.
    """
    if sizes and max(sizes) <= MOST_ITEMS:
        each = [every_block_order(size) for size in sizes]
        counts = [len(orders) for orders in each]
        if math.prod(counts) <= _MOST_ORDERS:
            which = np.indices(counts).reshape(len(sizes), -1)  # every combination of one a model
            return [orders[chosen] for orders, chosen in zip(each, which, strict=True)], 0
    return [random_block_orders(size, n, rng) for size in sizes], 1


def cosines_at(
    sides: Sequence[tuple[Grid, Grid]],
    orders: Sequence[Int[np.ndarray, "order _"]],
    bases: Sequence[Float[np.ndarray, "_ _ control"]] = (),
) -> Float[np.ndarray, " order"]:
    """`cosine_of` at many orders: Σ x y of every two layers is summed over concepts once.

    With the `control_bases` the controls are regressed out again of the second side in every order. A side of
    which nothing is left correlates by 0.
    """
    products = [
        (x.T @ y)[np.arange(order.shape[1]), order].sum(axis=1)
        for (x, y), order in zip(sides, orders, strict=True)
    ]
    xs, ys = (sum(float((s[i] ** 2).sum()) for s in sides) for i in (0, 1))
    # x has nothing of the controls in it, so that what they take from y shortens y alone.
    taken = [
        np.square(np.einsum("lk,ol->ok", basis, y[order])).sum(axis=1)
        for (_, grid), order, of_model in zip(sides, orders, bases, strict=bool(bases))
        for y, basis in zip(grid, of_model, strict=True)
    ]
    left = np.sqrt(np.clip(ys - np.sum(taken, axis=0), 0.0, None))
    product = np.sum(products, axis=0)
    length = math.sqrt(xs) * np.broadcast_to(left, product.shape)
    return np.divide(product, length, out=np.zeros_like(product), where=length > NOTHING)


def control_bases(grids: Sequence[Sequence[Grid]]) -> list[Float[np.ndarray, "_ _ control"]]:
    """Per model and concept, orthonormal columns that span the controls' centred ranks; 0 for one too many.

    Nothing where there is no control.
    """
    found = []
    for columns in grids:
        if not columns[0].shape[1] or len(columns) < 3:
            continue
        basis = np.stack([_centred_ranks(g) for g in columns[2:]], axis=2)
        left, sizes, _ = np.linalg.svd(basis, full_matrices=False)
        found.append(left * (sizes > NOTHING * sizes.max(initial=1.0))[:, None, :])
    return found


def grids_of(table: pd.DataFrame, columns: Sequence[str]) -> list[list[Grid]]:
    """Per model, each column as a grid of concepts by layers; layers with a NaN are left out.

    So are concepts of which a column tells nothing at any layer, which would take every layer along.
    """
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
        known = np.logical_and.reduce([np.isfinite(g).any(axis=1) for g in grids])
        if not known.any():
            continue
        grids = [g[known] for g in grids]
        kept = np.logical_and.reduce([np.isfinite(g).all(axis=0) for g in grids])
        models.append([g[:, kept] for g in grids])
    return models


def with_outcome(table: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """The rows of the concepts whose outcome is known at some layer.

    Raises:
        BadValueError: a column is missing.
    """
    missing = [c for c in (*GROUP, outcome) if c not in table.columns]
    if missing:
        raise BadValueError(f"the table of predictors has no column {', '.join(missing)}.")
    return table[table[outcome].notna().groupby([table[c] for c in GROUP]).transform("any")]


def residual_ranks(grids: Sequence[Sequence[Grid]]) -> list[tuple[Grid, Grid]]:
    """Per model, centred ranks of diagnostic and outcome, controls regressed out."""
    sides = []
    for columns in grids:
        if not columns[0].shape[1]:
            continue  # no layer with every number
        x, y = map(_centred_ranks, columns[:2])
        if len(columns) > 2:
            [basis] = control_bases([columns])
            x, y = (s - np.einsum("clk,cmk,cm->cl", basis, basis, s, optimize=True) for s in (x, y))
        sides.append((x, y))
    return sides


def _centred_ranks(grid: Grid) -> Grid:
    ranks = stats.rankdata(grid, axis=1)
    return np.asarray(ranks - ranks.mean(axis=1, keepdims=True))


def cosine_of(sides: Sequence[tuple[Grid, Grid]]) -> float:
    """Correlation of centred sides; NaN where one does not vary."""
    product = sum(float((x * y).sum()) for x, y in sides)
    lengths = [math.sqrt(sum(float((s[i] ** 2).sum()) for s in sides)) for i in (0, 1)]
    return product / (lengths[0] * lengths[1]) if min(lengths) >= NOTHING else math.nan


def least_p(table: pd.DataFrame, n_resamples: int) -> float:
    """One order of all that are tried, the observed one among them."""
    sizes = [int(n) for n in table.groupby("model").layer.nunique()]
    orders, counted = layer_orders(sizes, n_resamples, np.random.default_rng(0))
    return 1 / (counted + len(orders[0])) if orders else math.nan
