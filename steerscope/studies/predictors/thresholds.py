"""Does a threshold of a diagnostic tell layers that steer well from those that do not?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from steerscope.errors import BadValueError
from steerscope.statistics import interval_by_chance, random_block_orders
from steerscope.studies.predictors.over_layers import GROUP

PUBLISHED = (
    0.77  # at most this, the weakest gap of a layer was said to mark one that can be steered
)


@dataclass(frozen=True)
class Threshold:
    """A threshold as a test of layers.

    Attributes:
        diagnostic: whose small values are to mark layers that steer well.
        outcome: what was measured there.
        threshold: at most this counts as marked.
        share: of the best layer's outcome from which a layer steers well.
        auc: chance that a layer that steers well has the smaller value than one that does not, within one
            model and concept; 0.5 is chance.
        low: of the 95 % interval of the AUC, as wide as what orders of the layers without meaning give.
        high: likewise.
        p: two-sided, of an AUC of 0.5, layers relabelled the same for all concepts of a model, so that
            most keep their neighbours.
        sensitivity: share of the layers that steer well that are marked; NaN for none.
        specificity: share of the others that are not marked; NaN for none.
        marked: share of all layers that are marked.
        n_good: layers that steer well, over models and concepts.
        n: all of them.
    """

    diagnostic: str
    outcome: str
    threshold: float
    share: float
    auc: float
    low: float
    high: float
    p: float
    sensitivity: float
    specificity: float
    marked: float
    n_good: int
    n: int

    @property
    def words(self) -> str:
        """What it shows, in a sentence."""
        if not self.n:
            return f"No layer has a known {self.outcome}, so that no threshold of {self.diagnostic} can be judged."
        if self.n_good in {0, self.n}:
            return (
                f"All {self.n} layers lie on one side of {100 * self.share:.0f} % of the best one's "
                f"{self.outcome}, so that no threshold of {self.diagnostic} can be judged."
            )
        selects = (
            "it marks every layer and selects nothing"
            if self.marked == 1
            else "it marks none"
            if self.marked == 0
            else f"it marks {100 * self.marked:.0f} % of the layers"
        )
        known = not math.isnan(self.low)
        interval = f"[{self.low:.2f}, {self.high:.2f}]" if known else "(no interval)"
        auc = f"AUC over all thresholds {self.auc:.2f} {interval}, p = {self.p:.2g}"
        if math.isnan(self.auc):
            auc = "no concept has layers of both kinds, so that there is no AUC"
        return (
            f"{self.diagnostic} at most {self.threshold:g}: {selects}; it finds "
            f"{100 * self.sensitivity:.0f} % of the {self.n_good} layers that reach "
            f"{100 * self.share:.0f} % of the best and leaves out {100 * self.specificity:.0f} % of the "
            f"others; {auc} (n = {self.n} layers)."
        )


def judge_threshold(
    table: pd.DataFrame,
    *,
    diagnostic: str = "weakest_gap",
    outcome: str = "effect_kl",
    threshold: float = PUBLISHED,
    share: float = 0.5,
    seed: int = 0,
    n_resamples: int = 1000,
) -> Threshold:
    """A threshold of a diagnostic as a test of layers that reach a share of the best one's outcome.

    Args:
        table: one row per model, concept and layer, as `predictor_table` gives it.
        diagnostic: a column; small values mark.
        outcome: a column; layers where it is NaN are left out.
        threshold: of the diagnostic.
        share: of the largest outcome of the same model and concept.
        seed: of relabellings.
        n_resamples: their number.

    Raises:
        BadValueError: a column is missing, or the share is not between 0 and 1.
    """
    if not 0 < share <= 1:
        raise BadValueError(f"share {share}; it must lie above 0 and be at most 1.")
    rows = labelled_layers(table, diagnostic, outcome, share)
    good, values = rows.good.to_numpy(bool), rows[diagnostic].to_numpy(float)
    marked = values <= threshold
    rng = np.random.default_rng(seed)
    grids = [_grids(mine, diagnostic) for _, mine in rows.groupby("model")]
    auc = float(_auc([g.counted() for g in grids])[0])
    chance = _auc([g.relabelled(rng, n_resamples) for g in grids])
    extreme = np.abs(chance - 0.5) >= abs(auc - 0.5) - 1e-12
    # 2 AUC - 1 is a correlation, Somers' D
    low, high = (0.5 + d / 2 for d in interval_by_chance(2 * auc - 1, 2 * chance - 1))
    known = int(
        np.isfinite(chance).sum()
    )  # of few layers with values missing, not every order has pairs
    p = float((1 + extreme.sum()) / (1 + known)) if math.isfinite(auc) else math.nan
    return Threshold(
        diagnostic,
        outcome,
        threshold,
        share,
        auc,
        low,
        high,
        p,
        _share(marked[good]),
        _share(~marked[~good]),
        _share(marked),
        int(good.sum()),
        len(rows),
    )


def roc_curve(
    table: pd.DataFrame,
    *,
    diagnostic: str = "weakest_gap",
    outcome: str = "effect_kl",
    share: float = 0.5,
) -> pd.DataFrame:
    """Sensitivity and 1 - specificity at every threshold that a layer's value gives, ascending.

    Returns:
        threshold, sensitivity, false_positives; first a threshold below all values.

    Raises:
        BadValueError: a column is missing.
    """
    rows = labelled_layers(table, diagnostic, outcome, share)
    good, values = rows.good.to_numpy(bool), rows[diagnostic].to_numpy(float)
    at = [-math.inf, *np.unique(values)]
    return pd.DataFrame(
        {
            "threshold": at,
            "sensitivity": [_share(values[good] <= t) for t in at],
            "false_positives": [_share(values[~good] <= t) for t in at],
        }
    )


def labelled_layers(
    table: pd.DataFrame, diagnostic: str, outcome: str, share: float
) -> pd.DataFrame:
    """The layers with a column `good`: whether the outcome reaches a share of the largest.

    Raises:
        BadValueError: a column is missing.
    """
    missing = [c for c in (*GROUP, "layer", diagnostic, outcome) if c not in table.columns]
    if missing:
        raise BadValueError(f"the table of predictors has no column {', '.join(missing)}.")
    rows = table.dropna(subset=[diagnostic, outcome]).reset_index(drop=True)
    largest = rows.groupby(GROUP)[outcome].transform("max")
    return rows.assign(good=(rows[outcome] >= share * largest) & (rows[outcome] > 0))


_Counts = tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]


@dataclass(frozen=True, eq=False)
class _Grids:
    """One model's layers under each of its concepts.

    Attributes:
        good: whether a layer steers well, 0 or 1; as is the other, 0 where it was not measured.
        other: whether it was measured and does not.
        measured: whether it has a value, 0 or 1.
        ahead: 1 where the first layer has the smaller value, 1/2 for a tie.
    """

    good: Float[np.ndarray, "concept layer"]
    other: Float[np.ndarray, "concept layer"]
    measured: Float[np.ndarray, "concept layer"]
    ahead: Float[np.ndarray, "concept layer layer"]

    @property
    def n_layers(self) -> int:
        return self.good.shape[1]

    def counted(self) -> _Counts:
        """Pairs of a good layer and another that are told right, and all of them."""
        pairs = self.good[:, :, None] * self.other[:, None, :]
        return (pairs * self.ahead).sum(keepdims=True).ravel(), pairs.sum(keepdims=True).ravel()

    def relabelled(self, rng: np.random.Generator, n: int) -> _Counts:
        """The same with what steers well dealt out to other layers, alike for all concepts.

        What comes to a layer without a value has no pair, since none of its pairs could be told right.
        """
        orders = random_block_orders(self.n_layers, n, rng)
        good, other = (x[:, orders].swapaxes(0, 1) * self.measured for x in (self.good, self.other))
        won = np.einsum("dci,cij,dcj->d", good, self.ahead, other)
        return won, np.einsum("dci,dcj->d", good, other)


def _grids(rows: pd.DataFrame, diagnostic: str) -> _Grids:
    """Of the layers of one model."""
    good, values = (
        rows.pivot(index="concept", columns="layer", values=name).to_numpy(float)
        for name in ("good", diagnostic)
    )
    first, second = values[:, :, None], values[:, None, :]
    ahead = (first < second) + 0.5 * (first == second)
    measured = np.isfinite(values).astype(float)
    return _Grids(np.nan_to_num(good), measured * (1 - np.nan_to_num(good)), measured, ahead)


def _auc(counts: Sequence[_Counts]) -> Float[np.ndarray, " draw"]:
    """Share of the pairs of all models that are told right; NaN for none."""
    if not counts:
        return np.full(1, math.nan)
    won, whole = (np.sum([c[i] for c in counts], axis=0) for i in (0, 1))
    return np.divide(won, whole, out=np.full(len(won), math.nan), where=whole > 0)


def _share(hits: Bool[np.ndarray, " layer"] | Float[np.ndarray, " layer"]) -> float:
    return float(np.mean(hits)) if len(hits) else math.nan
