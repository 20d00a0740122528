"""Effect against dose: where it reaches a level, and how steep it is."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from steerscope.errors import NotConvergedError, TooLittleDataError
from steerscope.statistics.intervals import CONFIDENCE, Estimate

_FEWEST = 3  # prompts
_OPTIMISERS = ("lbfgs", "bfgs", "powell")  # the next one starts where one stops short
_NONE = 1e-10  # of the squared values' scale, below which a residual counts as nothing


@dataclass(frozen=True)
class MixedSlope:
    """Effect per unit of dose, with prompts as random effects.

    Attributes:
        slope: with its interval; n is the number of prompts.
        p: two-sided, of no slope.
        random_slope: whether each prompt has its own slope, and not only its own level.
    """

    slope: Estimate
    p: float
    random_slope: bool


def mixed_slope(
    values: Float[np.ndarray, " row"],
    doses: Float[np.ndarray, " row"],
    prompts: Shaped[np.ndarray, " row"],
) -> MixedSlope:
    """Slope of a mixed linear model in which prompts differ in level and, if they show it, in slope.

    value = a + b dose + uₚ + wₚ dose + ε, with (u, w) normal over prompts and independent of ε, by
    restricted maximum likelihood. w is part of it where prompts have three doses or more on average;
    with two, w and ε cannot be told apart. For values that are 0 or 1 it is the linear probability
    model, and the slope a difference of probabilities per unit of dose. Rows that are NaN are left
    out.

    Args:
        values: one effect per row.
        doses: in any one unit, at least two different ones.
        prompts: the prompt of each row, of any type that sorts.

    Raises:
        TooLittleDataError: fewer than three prompts, one dose, no prompt under two doses, or values
            that a line fits without any residual.
        NotConvergedError: no optimiser finds the maximum.

    Source: Laird & Ware 1982, by statsmodels; interval and p are of Student's t with prompts - 1
    degrees of freedom and not of the normal distribution, which is too narrow for few prompts.
    """
    there = np.isfinite(values) & np.isfinite(doses)
    y, x, groups = values[there], doses[there], prompts[there]
    names, members = np.unique(groups, return_inverse=True)
    _check_enough(x, members, len(names))
    # On standardised sides the optimiser meets the same scale for every effect and unit.
    scale_y, scale_x = float(y.std()), float(x.std())
    x = (x - x.mean()) / scale_x
    design = np.column_stack([np.ones_like(x), x])
    _check_residual(y / (scale_y or 1.0), design)
    random_slope = len(np.unique(np.column_stack([members, x]), axis=0)) >= 3 * len(names)
    random = design if random_slope else design[:, :1]
    fitted = _fit(MixedLM((y - y.mean()) / scale_y, design, members, random))
    slope, error = (x * scale_y / scale_x for x in fitted)
    freedom = len(names) - 1
    half = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * error
    p = 2 * stats.t.sf(abs(slope) / error, freedom)
    estimate = Estimate(slope, float(slope - half), float(slope + half), len(names))
    return MixedSlope(estimate, float(p), random_slope)


def _fit(model: MixedLM) -> tuple[float, float]:
    """Slope and standard error at the first optimum; one at a variance of 0 is an optimum too."""
    for optimiser in _OPTIMISERS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                found = model.fit(reml=True, method=optimiser)
            except np.linalg.LinAlgError:
                continue
            slope, error = float(found.fe_params[1]), float(found.bse_fe[1])
        if found.converged and 0 < error < math.inf:
            return slope, error
    raise NotConvergedError(
        "the mixed model of the slope found no optimum with "
        f"{', '.join(_OPTIMISERS)}; look at the values, or give more prompts or doses."
    )


def _check_enough(x: np.ndarray, members: np.ndarray, n_prompts: int) -> None:
    n_doses = len(np.unique(x))
    if n_prompts < _FEWEST or n_doses < 2:
        raise TooLittleDataError(
            f"a slope over prompts needs at least {_FEWEST} prompts and 2 doses, got {n_prompts} and "
            f"{n_doses}."
        )
    if len(np.unique(np.column_stack([members, x]), axis=0)) == n_prompts:
        raise TooLittleDataError("no prompt was measured at two doses, so that none has a slope.")


def _check_residual(y: np.ndarray, design: np.ndarray) -> None:
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    if float((residual**2).mean()) < _NONE:
        raise TooLittleDataError(
            "the values do not vary around a line, so that it has no interval."
        )


def crossing(
    doses: Float[np.ndarray, " dose"], effects: Float[np.ndarray, " dose"], level: float
) -> float:
    """Smallest dose at which the effect reaches `level`, by linear interpolation; NaN if never."""
    order = np.argsort(doses)
    x, y = doses[order], effects[order]
    for i in range(len(x)):
        if y[i] >= level:
            if i == 0:
                return float(x[0])
            share = (level - y[i - 1]) / (y[i] - y[i - 1])
            return float(x[i - 1] + share * (x[i] - x[i - 1]))
    return math.nan
