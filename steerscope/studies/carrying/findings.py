"""Linear maps between the activations of two models, how much of a held-out text they tell, and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int

from steerscope.errors import BadValueError
from steerscope.judges import stored_effect
from steerscope.runs.results import Run
from steerscope.sites import Site
from steerscope.statistics import CONFIDENCE, rank_p, spread_as_few, sums_by_cluster
from steerscope.studies.methods.stored import ranking_of_rows

RIDGE, PROCRUSTES = "ridge", "procrustes"
MAPS = (RIDGE, PROCRUSTES)
_FOLDS = 4


@dataclass(frozen=True, eq=False)
class ReadTexts:
    """What two models make of the texts of some pairs.

    Attributes:
        x: activations of the one.
        y: of the other.
        positive: the class of each text.
        pair: the number of the pair that each is of; pairs that share a text have one number.
    """

    x: Float64[np.ndarray, "text source"]
    y: Float64[np.ndarray, "text target"]
    positive: Bool[np.ndarray, " text"]
    pair: Int[np.ndarray, " text"]

    def mixed(self, seed: int) -> ReadTexts:
        """The texts of the two models paired at random within each class.

        Both models tell the classes apart, so that texts paired at random over the classes as well would be a null of
        no map and no classes; this one keeps the class axis, which a map need not know anything to carry.
        """
        rng, order = np.random.default_rng([seed, 1]), np.arange(len(self.y))
        for mine in (self.positive, ~self.positive):
            order[mine] = rng.permutation(order[mine])
        return replace(self, y=self.y[order])


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
    u, singular, v = np.linalg.svd(x - means[0], full_matrices=False)
    weight = v.T @ (_shrunk(singular, x.shape[1], ridge)[:, None] * (u.T @ (y - means[1])))
    return LinearMap(RIDGE, weight, *means, ridge)


def _shrunk(
    singular: Float64[np.ndarray, " axis"], width: int, ridge: float
) -> Float64[np.ndarray, " axis"]:
    """σ / (σ² + λ') of every axis of the texts."""
    squares = singular**2
    return singular / (squares + ridge * squares.sum() / width)


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


def chosen_ridge(fit: ReadTexts, ridges: Sequence[float], *, seed: int = 0) -> float:
    """The λ with the largest R² on folds of the fitted pairs that were left out.

    Raises:
        BadValueError: fewer than 8 texts, or than 2 pairs.
    """
    pairs = np.unique(fit.pair)
    if len(fit.x) < 2 * _FOLDS or len(pairs) < 2:
        raise BadValueError(
            f"{len(fit.x)} texts of {len(pairs)} pairs fit no map; give at least {2 * _FOLDS} texts of 2 pairs."
        )
    order, left = np.random.default_rng(seed).permutation(pairs), np.zeros(len(ridges))
    for fold in range(min(_FOLDS, len(pairs))):
        out = np.isin(fit.pair, order[fold::_FOLDS])
        left += _left_over((fit.x[~out], fit.y[~out]), (fit.x[out], fit.y[out]), ridges)
    return ridges[int(left.argmin())]


def _left_over(
    kept: tuple[Float64[np.ndarray, "text source"], Float64[np.ndarray, "text target"]],
    out: tuple[Float64[np.ndarray, "other source"], Float64[np.ndarray, "other target"]],
    ridges: Sequence[float],
) -> Float64[np.ndarray, " ridge"]:
    """Squares that the ridge map of some texts leaves over of others, for every λ."""
    means = kept[0].mean(axis=0), kept[1].mean(axis=0)
    u, singular, v = np.linalg.svd(kept[0] - means[0], full_matrices=False)
    along, there = (out[0] - means[0]) @ v.T, u.T @ (kept[1] - means[1])
    shrunk = [_shrunk(singular, kept[0].shape[1], ridge) for ridge in ridges]
    return np.array([((out[1] - means[1] - (along * s) @ there) ** 2).sum() for s in shrunk])


def fit_map(kind: str, fit: ReadTexts, ridges: Sequence[float], *, seed: int = 0) -> LinearMap:
    """A map of one kind; of a ridge map λ is chosen on the same texts.

    Raises:
        BadValueError: too few texts.
    """
    if kind == PROCRUSTES:
        return procrustes_map(fit.x, fit.y)
    return ridge_map(fit.x, fit.y, chosen_ridge(fit, ridges, seed=seed))


def fit_maps(fit: ReadTexts, ridges: Sequence[float], *, seed: int = 0) -> dict[str, LinearMap]:
    """A ridge and a Procrustes map.

    Raises:
        BadValueError: too few texts.
    """
    return {kind: fit_map(kind, fit, ridges, seed=seed) for kind in MAPS}


def permuted(kind: str, fit: ReadTexts, ridges: Sequence[float], *, seed: int) -> LinearMap:
    """The same kind of map, its λ chosen anew, of texts that are paired at random within each class."""
    return fit_map(kind, fit.mixed(seed), ridges, seed=seed)


@dataclass(frozen=True, eq=False)
class MapSquares:
    """What a map leaves over of held-out texts, and what maps of texts paired at random leave.

    Attributes:
        ridge: λ of the map; 0 for one without.
        squares: left, and about the mean of the fitted texts, of each text.
        permuted: the same of each permuted map.
        n_fit: texts that the map was fitted on.
        pair: the number of the pair that each held-out text is of.
    """

    ridge: float
    squares: Float64[np.ndarray, "2 text"]
    permuted: tuple[Float64[np.ndarray, "2 text"], ...]
    n_fit: int
    pair: Int[np.ndarray, " text"]


def squares_of_maps(
    maps: dict[str, LinearMap],
    fit: ReadTexts,
    held_out: ReadTexts,
    ridges: Sequence[float],
    *,
    n_permuted: int,
) -> dict[str, MapSquares]:
    """The squares of each map, and of as many maps of texts paired at random within each class."""
    told = held_out.x, held_out.y
    return {
        name: MapSquares(
            found.ridge,
            held_out_r2(found, *told),
            tuple(
                held_out_r2(permuted(name, fit, ridges, seed=i), *told) for i in range(n_permuted)
            ),
            len(fit.x),
            held_out.pair,
        )
        for name, found in maps.items()
    }


def map_table(maps: Mapping[str, MapSquares], *, seed: int = 0) -> pd.DataFrame:
    """Held-out R² of each map with its interval, and what maps of texts paired at random within each class reach.

    Returns:
        One row per map: map, ridge, r2, low, high (95 % bootstrap over held-out pairs, spread as for few), null_high (the
        largest of the permuted maps), p (rank among them), n_fit, n, n_pairs.
    """
    rows = []
    for name, found in maps.items():
        squares = found.squares
        by_pair = np.stack([sums_by_cluster(row[None], found.pair)[0] for row in squares])
        n_pairs = by_pair.shape[1]
        draws = np.random.default_rng(seed).integers(n_pairs, size=(1000, n_pairs))
        sums = by_pair[:, draws].sum(axis=2)
        value = _r2(squares)
        drawn = spread_as_few(1 - sums[0] / sums[1], value, n_pairs, most=1.0)
        low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        nulls = np.array([_r2(each) for each in found.permuted])
        p = rank_p(value, nulls)
        counts = found.n_fit, squares.shape[1], n_pairs
        rows.append((name, found.ridge, value, low, high, nulls.max(), p, *counts))
    columns = ["map", "ridge", "r2", "low", "high", "null_high", "p", "n_fit", "n", "n_pairs"]
    return pd.DataFrame(rows, columns=columns)


def _r2(squares: Float64[np.ndarray, "2 text"]) -> float:
    return float(1 - squares[0].sum() / squares[1].sum())


LEFT, SPREAD, RIDGE_USED, N_FIT, COSINE = "left", "spread", "ridge", "n_fit", "cosine_to_own"
FOUND_AT, PAIR, OF_CONCEPT = "source_layer", "pair_of_text", "taught_of_concept"
OF_MAPS = (
    LEFT,
    SPREAD,
    RIDGE_USED,
    N_FIT,
    COSINE,
    FOUND_AT,
    PAIR,
    OF_CONCEPT,
)  # metrics that no comparison has


def maps_of_run(run: Run) -> pd.DataFrame:
    """Held-out R² of each map of a run; see `map_table`.

    In a run that does not say which pairs its texts are of each text is its own.

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
        pairs = mine[mine.metric == PAIR].sort_values("prompt").value.to_numpy(int)
        found[name] = MapSquares(
            float(numbers[RIDGE_USED]),
            squares[0],
            tuple(squares[1:]),
            int(numbers[N_FIT]),
            pairs if len(pairs) else np.arange(squares[0].shape[1]),
        )
    return map_table(found, seed=int(run.configuration["seed"]))


def _squares(rows: pd.DataFrame) -> Float64[np.ndarray, "2 text"]:
    wide = rows.pivot(index="metric", columns="prompt", values="value")
    return wide.loc[[LEFT, SPREAD]].to_numpy(float)


def knows_concept(run: Run) -> bool:
    """Whether the maps of a run were fitted on texts of the concept that was carried."""
    rows = run.table()
    said = rows.value[rows.metric == OF_CONCEPT]
    if len(said):
        return bool(said.iloc[0])
    return bool(run.configuration["taught_sha256"] == run.configuration["contrasts_sha256"])


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
