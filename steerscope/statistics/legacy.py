"""Two published scores of a steering vector, kept to compare with old tables and for nothing else.

They are no measure of steering:

* |slope| ignores the direction: a vector that steers the wrong way wins like one that steers right.
* r² and the share of valid answers multiply in what the slope's own error already says, and the
  share is squared on top of the missing points that the fit has lost.
* The range in v2 grows with the coefficients that were tried.
* A handful of points, each one sampled answer to one prompt: two identical vectors were published
  with slopes of -11.6 and +2.1.
* v1 and v2 have different units, and one published table sorts them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from steerscope.errors import BadValueError


@dataclass(frozen=True)
class LegacyFit:
    """A straight line through log-ratios against symlog coefficients.

    Attributes:
        slope: nats per unit of symlog coefficient.
        r2: squared correlation of the points.
        valid_frac: share of the answers that could be read, 0 to 1.
        spread: largest minus smallest log-ratio, in nats.
    """

    slope: float
    r2: float
    valid_frac: float
    spread: float


def symlog(coefficients: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
    """sign(c) ln(1 + |c|)."""
    return np.sign(coefficients) * np.log1p(np.abs(coefficients))


def legacy_fit(
    coefficients: Float[np.ndarray, " point"], log_ratios: Float[np.ndarray, " point"]
) -> LegacyFit:
    """Least squares of log-ratios on symlog coefficients; a NaN log-ratio is an unread answer.

    Raises:
        BadValueError: fewer than three answers, or all at one coefficient; an infinity.

    Source: scoring of the wassname steering journal, September 2025.
    """
    valid = ~np.isnan(log_ratios)
    x, y = symlog(coefficients[valid]), log_ratios[valid]
    if len(x) < 3 or len(np.unique(x)) < 2:
        raise BadValueError(
            f"a legacy score needs 3 answers at 2 or more coefficients; there are {len(x)}, at "
            f"{len(np.unique(x))}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise BadValueError("a legacy score needs finite coefficients and log-ratios.")
    if np.ptp(y) == 0:  # no line to be right or wrong about
        return LegacyFit(0.0, 0.0, float(valid.mean()), 0.0)
    fit = stats.linregress(x, y)
    return LegacyFit(float(fit.slope), float(fit.rvalue**2), float(valid.mean()), float(np.ptp(y)))


def score_v1(fit: LegacyFit) -> float:
    """|slope| · valid_frac² · r², in nats per symlog unit.

    Source: the same journal, all of its tables but the last part of the last.
    """
    return abs(fit.slope) * fit.valid_frac**2 * fit.r2


def score_v2(fit: LegacyFit) -> float:
    """|slope| · spread · r² · valid_frac², in nats² per symlog unit.

    Source: the same journal, second part of its last table.
    """
    return abs(fit.slope) * fit.spread * fit.r2 * fit.valid_frac**2
