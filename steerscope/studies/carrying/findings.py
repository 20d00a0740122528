"""Linear maps between the activations of two models, how much of a held-out text they tell, and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from steerscope.errors import BadValueError
from steerscope.judges import stored_effect
from steerscope.runs.results import Run
from steerscope.sites import Site
from steerscope.statistics import CONFIDENCE, rank_p
from steerscope.studies.methods.stored import ranking_of_rows

RIDGE, PROCRUSTES = "ridge", "procrustes"
MAPS = (RIDGE, PROCRUSTES)
_FOLDS = 4


@dataclass(frozen=True, eq=False)
class LinearMap:
    """y ≈ ȳ + (x - x̄) W, from one model's activations to another's.

    Attributes:
        kind: `ridge` or `procrustes`.
        weight: W.
        source_mean: x̄.
        target_mean: ȳ.
        ridge: λ of a ridge map, in mean variances of x; 0 for the other.
    """

    kind: str
    weight: Float64[np.ndarray, "source target"]
    source_mean: Float64[np.ndarray, " source"]
    target_mean: Float64[np.ndarray, " target"]
    ridge: float = 0.0

    def __call__(self, x: Float64[np.ndarray, "text source"]) -> Float64[np.ndarray, "text target"]:
        """What the map says of texts."""
        return self.target_mean + (x - self.source_mean) @ self.weight

    def carried(self, vector: Float64[np.ndarray, " source"]) -> Float64[np.ndarray, " target"]:
        """A difference of activations, which has no mean to add."""
        return vector @ self.weight


def ridge_map(
    x: Float64[np.ndarray, "text source"], y: Float64[np.ndarray, "text target"], ridge: float
) -> LinearMap:
    """W = (XᵀX + λ' I)⁻¹ Xᵀ Y of centred X and Y, λ' = λ n times the mean variance of X.

    Source: Hoerl & Kennard 1970.
    """
    means = x.mean(axis=0), y.mean(axis=0)
    centred, other = x - means[0], y - means[1]
    gram = centred.T @ centred
    damped = gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    return LinearMap(RIDGE, np.linalg.solve(damped, centred.T @ other), *means, ridge)


def procrustes_map(
    x: Float64[np.ndarray, "text source"], y: Float64[np.ndarray, "text target"]
) -> LinearMap:
    """W = s U Vᵀ with XᵀY = U Σ Vᵀ: a rotation into the other space and one scale, s = tr Σ / ||X||².

    Where the widths differ U Vᵀ keeps the lengths of the smaller space.

    Source: Schönemann 1966.
    """
    means = x.mean(axis=0), y.mean(axis=0)
    centred, other = x - means[0], y - means[1]
    u, singular, v = np.linalg.svd(centred.T @ other, full_matrices=False)
    scale = singular.sum() / (centred**2).sum()
    return LinearMap(PROCRUSTES, scale * (u @ v), *means)


def held_out_r2(
    found: LinearMap, x: Float64[np.ndarray, "text source"], y: Float64[np.ndarray, "text target"]
) -> Float64[np.ndarray, "2 text"]:
    """Squares that the map leaves over of each text, and squares about the mean of the fitted texts.

    R² = 1 - Σ left / Σ spread.
    """
    return np.stack([((y - found(x)) ** 2).sum(axis=1), ((y - found.target_mean) ** 2).sum(axis=1)])


def chosen_ridge(
    x: Float64[np.ndarray, "text source"],
    y: Float64[np.ndarray, "text target"],
    ridges: Sequence[float],
    *,
    seed: int = 0,
) -> float:
    """The λ with the largest R² on folds of the fitted texts that were left out.

    Raises:
        BadValueError: fewer texts than folds.
    """
    if len(x) < 2 * _FOLDS:
        raise BadValueError(f"{len(x)} texts fit no map; give at least {2 * _FOLDS}.")
    order = np.random.default_rng(seed).permutation(len(x))
    sums = {ridge: np.zeros(2) for ridge in ridges}
    for fold in range(_FOLDS):
        out = order[fold::_FOLDS]
        kept = np.setdiff1d(order, out)
        for ridge in ridges:
            found = ridge_map(x[kept], y[kept], ridge)
            sums[ridge] += held_out_r2(found, x[out], y[out]).sum(axis=1)
    return max(ridges, key=lambda ridge: 1 - sums[ridge][0] / sums[ridge][1])


def fit_maps(
    fit: tuple[Float64[np.ndarray, "text source"], Float64[np.ndarray, "text target"]],
    ridges: Sequence[float],
    *,
    seed: int = 0,
) -> dict[str, LinearMap]:
    """A ridge and a Procrustes map.

    Raises:
        BadValueError: too few texts.
    """
    x, y = fit
    return {
        RIDGE: ridge_map(x, y, chosen_ridge(x, y, ridges, seed=seed)),
        PROCRUSTES: procrustes_map(x, y),
    }


def permuted(
    fit: tuple[Float64[np.ndarray, "text source"], Float64[np.ndarray, "text target"]],
    found: LinearMap,
    *,
    seed: int,
) -> LinearMap:
    """The same kind of map with the texts of the two models paired at random."""
    x, y = fit
    mixed = y[np.random.default_rng([seed, 1]).permutation(len(y))]
    return ridge_map(x, mixed, found.ridge) if found.kind == RIDGE else procrustes_map(x, mixed)


@dataclass(frozen=True, eq=False)
class MapSquares:
    """What a map leaves over of held-out texts, and what maps of texts paired at random leave.

    Attributes:
        ridge: λ of the map; 0 for one without.
        squares: left, and about the mean of the fitted texts, of each text.
        permuted: the same of each permuted map.
        n_fit: texts that the map was fitted on.
    """

    ridge: float
    squares: Float64[np.ndarray, "2 text"]
    permuted: tuple[Float64[np.ndarray, "2 text"], ...]
    n_fit: int


def squares_of_maps(
    maps: dict[str, LinearMap],
    fit: tuple[Float64[np.ndarray, "text source"], Float64[np.ndarray, "text target"]],
    held_out: tuple[Float64[np.ndarray, "other source"], Float64[np.ndarray, "other target"]],
    *,
    n_permuted: int,
) -> dict[str, MapSquares]:
    """The squares of each map, and of as many maps of texts paired at random."""
    return {
        name: MapSquares(
            found.ridge,
            held_out_r2(found, *held_out),
            tuple(held_out_r2(permuted(fit, found, seed=i), *held_out) for i in range(n_permuted)),
            len(fit[0]),
        )
        for name, found in maps.items()
    }


def map_table(maps: Mapping[str, MapSquares], *, seed: int = 0) -> pd.DataFrame:
    """Held-out R² of each map with its interval, and what maps of texts paired at random reach.

    Returns:
        One row per map: map, ridge, r2, low, high (95 % bootstrap over held-out texts), null_high (the
        largest of the permuted maps), p (rank among them), n_fit, n.
    """
    rows = []
    for name, found in maps.items():
        squares = found.squares
        n = squares.shape[1]
        draws = np.random.default_rng(seed).integers(n, size=(1000, n))
        sums = squares[:, draws].sum(axis=2)
        low, high = np.quantile(1 - sums[0] / sums[1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        value = _r2(squares)
        nulls = np.array([_r2(each) for each in found.permuted])
        p = rank_p(value, nulls)
        rows.append((name, found.ridge, value, low, high, nulls.max(), p, found.n_fit, n))
    columns = ["map", "ridge", "r2", "low", "high", "null_high", "p", "n_fit", "n"]
    return pd.DataFrame(rows, columns=columns)


def _r2(squares: Float64[np.ndarray, "2 text"]) -> float:
    return float(1 - squares[0].sum() / squares[1].sum())


LEFT, SPREAD, RIDGE_USED, N_FIT, COSINE = "left", "spread", "ridge", "n_fit", "cosine_to_own"
FOUND_AT = "source_layer"
OF_MAPS = (LEFT, SPREAD, RIDGE_USED, N_FIT, COSINE, FOUND_AT)  # metrics that no comparison has


def maps_of_run(run: Run) -> pd.DataFrame:
    """Held-out R² of each map of a run; see `map_table`.

    Raises:
        RunError: the run has no rows.
    """
    rows = run.table()
    found = {}
    for name in MAPS:
        mine = rows[rows.method == name]
        numbers = mine.set_index("metric").value
        squares = [
            _squares(part) for _, part in mine[mine.metric.isin([LEFT, SPREAD])].groupby("seed")
        ]
        found[name] = MapSquares(
            float(numbers[RIDGE_USED]), squares[0], tuple(squares[1:]), int(numbers[N_FIT])
        )
    return map_table(found, seed=int(run.configuration["seed"]))


def _squares(rows: pd.DataFrame) -> Float64[np.ndarray, "2 text"]:
    wide = rows.pivot(index="metric", columns="prompt", values="value")
    return wide.loc[[LEFT, SPREAD]].to_numpy(float)


def cosines_of_run(run: Run) -> pd.DataFrame:
    """The cosine of each carried vector with the model's own: vector, cosine_to_own."""
    rows = run.table()
    mine = rows[rows.metric == COSINE]
    return pd.DataFrame({"vector": mine.method, COSINE: mine.value}).reset_index(drop=True)


def sites_of_run(run: Run) -> tuple[Site, Site]:
    """Where the vector of a run was found, and where it was carried to."""
    rows = run.table()
    at = rows[rows.metric == FOUND_AT].iloc[0]
    to = rows[rows.metric == COSINE].iloc[0]
    return Site(at.stream, int(at.layer)), Site(to.stream, int(to.layer))


def vectors_of_run(run: Run) -> dict[str, pd.DataFrame]:
    """What the vectors of a run do at one KL: ranking and rivals, as of a comparison."""
    rows, effect = run.table(), stored_effect(run.configuration["effect"])
    compared = rows[~rows.metric.isin(OF_MAPS)]
    return ranking_of_rows(compared, effect.metric, int(run.configuration["seed"]))
