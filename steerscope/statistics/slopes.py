"""Effect against dose: where it reaches a level, and how steep it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import stats

from steerscope.errors import TooLittleDataError
from steerscope.statistics.intervals import CONFIDENCE, Estimate

_FEWEST = 3  # prompts
_NONE = 1e-5  # of the values' scale, below which slopes count as all the same


@dataclass(frozen=True)
class MixedSlope:
    """Effect per unit of dose, each prompt with a level and a slope of its own.

    Attributes:
        slope: with its interval; n is the number of prompts that have a slope.
        p: two-sided, of no slope.
    """

    slope: Estimate
    p: float


def mixed_slope(
    values: Float[np.ndarray, " row"],
    doses: Float[np.ndarray, " row"],
    prompts: Shaped[np.ndarray, " row"],
) -> MixedSlope:
    """Mean over prompts of the slope of each, by least squares, with Student's t over the prompts.

    value = a + b dose + uₚ + wₚ dose + ε: bₚ is the least-squares slope of prompt p, b their mean, and
    its standard error their standard deviation / √n. Where all prompts were measured at the same doses
    this is the estimate of that mixed model, without its optimiser, whose variances can end at a
    border of their range and its standard error far from the truth. b is the mean steepness over the
    doses measured: a response to a dose is a sigmoid, so that other doses have another slope. For
    values that are 0 or 1 it is a difference of probabilities per unit of dose. Rows that are NaN are
    left out, and so are prompts at one dose.

    In simulations of prompts that flip at a dose of their own the 95 % interval held the mean slope in
    91 to 96 % of repetitions with 30 prompts or more, and in 85 to 95 % with 12.

    Args:
        values: one effect per row.
        doses: in any one unit, at least two different ones.
        prompts: the prompt of each row, of any type that sorts.

    Raises:
        TooLittleDataError: fewer than three prompts, one dose, no prompt under two doses, or prompts
            whose slopes are all the same.

    Source: Laird & Ware 1982 for the model; the analysis by summary measures is Matthews et al. 1990.
    """
    there = np.isfinite(values) & np.isfinite(doses)
    y, x = values[there].astype(float), doses[there].astype(float)
    names, members = np.unique(prompts[there], return_inverse=True)
    _check_enough(x, len(names))
    slopes = _slope_of_each(y, x, members)
    if not len(slopes):
        raise TooLittleDataError("no prompt was measured at two doses, so that none has a slope.")
    n = len(slopes)
    _check_enough(x, n)
    slope, deviation = float(slopes.mean()), float(slopes.std(ddof=1))
    if deviation <= _NONE * float(np.ptp(y)) / float(np.ptp(x)):
        raise TooLittleDataError(
            "the slopes of the prompts do not vary around their mean, so that it has no interval."
        )
    error = deviation / math.sqrt(n)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    p = 2 * float(stats.t.sf(abs(slope) / error, n - 1))
    return MixedSlope(Estimate(slope, slope - half, slope + half, n), p)


def _slope_of_each(
    y: Float[np.ndarray, " row"], x: Float[np.ndarray, " row"], members: Int[np.ndarray, " row"]
) -> Float[np.ndarray, " prompt"]:
    """Σ (x - x̄)(y - ȳ) / Σ (x - x̄)² of every prompt that has two doses."""
    counts = np.bincount(members)
    x = x - (np.bincount(members, x) / counts)[members]
    y = y - (np.bincount(members, y) / counts)[members]
    spread = np.bincount(members, x * x)
    there = spread > 1e-12 * spread.max(initial=0.0)
    return np.bincount(members, x * y)[there] / spread[there]


def _check_enough(x: Float[np.ndarray, " row"], n_prompts: int) -> None:
    n_doses = len(np.unique(x))
    if n_prompts < _FEWEST or n_doses < 2:
        raise TooLittleDataError(
            f"a slope over prompts needs at least {_FEWEST} prompts and 2 doses, got {n_prompts} and "
            f"{n_doses}."
        )


def crossing(
    doses: Float[np.ndarray, " dose"], effects: Float[np.ndarray, " dose"], level: float
) -> float:
    """Smallest dose at which the effect reaches `level`, by linear interpolation; NaN if never.

    An effect that is NaN is unknown: nothing is interpolated from it, and the next dose that is known to
    reach the level is the answer.
    """
    order = np.argsort(doses)
    x, y = doses[order], effects[order]
    for i in range(len(x)):
        if y[i] >= level:
            if i == 0 or np.isnan(y[i - 1]):
                return float(x[i])
            share = (level - y[i - 1]) / (y[i] - y[i - 1])
            return float(x[i - 1] + share * (x[i] - x[i - 1]))
    return math.nan
