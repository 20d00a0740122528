"""How large an effect so many prompts show, and how many an effect needs."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import stats
from scipy.optimize import brentq

from steerscope.errors import BadValueError, TooLittleDataError

_LEVEL = 0.05
_MOST = 10**9  # prompts


def power_of(
    effect: float, sd: float, n: int, *, level: float = _LEVEL, one_sided: bool = False
) -> float:
    """Chance that n prompts show an effect, by the t test of their paired differences.

    The noncentral t with n - 1 degrees of freedom and shift √n effect / sd lies beyond the critical
    value of the level.

    Args:
        effect: true mean of the differences.
        sd: their standard deviation, in the same unit; > 0.
        n: prompts, at least 2.
        level: of the test; for one cell of a sweep that of `cell_level`.
        one_sided: whether only an effect above zero counts, as in a sweep.

    Raises:
        BadValueError: the sd is not positive, or the level not between 0 and 1.
        TooLittleDataError: fewer than 2 prompts.
    """
    _check(sd, level)
    if n < 2:
        raise TooLittleDataError(f"a t test needs at least 2 prompts, got {n}.")
    shift = math.sqrt(n) * effect / sd
    critical = stats.t.isf(level if one_sided else level / 2, n - 1)
    above = stats.nct.sf(critical, n - 1, shift)
    return float(above if one_sided else above + stats.nct.sf(critical, n - 1, -shift))


def detectable_effect(
    n: int, sd: float, *, power: float = 0.8, level: float = _LEVEL, one_sided: bool = False
) -> float:
    """Smallest true effect that n prompts show with this chance, in the unit of the sd.

    Args:
        n: prompts, at least 2.
        sd: standard deviation of the paired differences; > 0.
        power: the chance, above the level and below 1.
        level: see `power_of`.
        one_sided: see `power_of`.

    Raises:
        BadValueError: the sd, level or power is outside its range.
        TooLittleDataError: fewer than 2 prompts.
    """
    _check(sd, level, power)

    def lacking(size: float) -> float:
        return power_of(size, 1.0, n, level=level, one_sided=one_sided) - power

    largest = 1.0
    while lacking(largest) < 0:
        largest *= 2
    return sd * float(brentq(lacking, 0.0, largest))


def prompts_needed(
    effect: float, sd: float, *, power: float = 0.8, level: float = _LEVEL, one_sided: bool = False
) -> int:
    """Fewest prompts that show an effect with this chance.

    Args:
        effect: true mean of the paired differences, not 0; above 0 where `one_sided`.
        sd: their standard deviation, in the same unit; > 0.
        power: the chance, above the level and below 1.
        level: see `power_of`.
        one_sided: see `power_of`.

    Raises:
        BadValueError: a value is outside its range, or no feasible number of prompts is enough.
    """
    _check(sd, level, power)
    size = effect / sd if one_sided else abs(effect) / sd
    z = stats.norm.isf(level if one_sided else level / 2) + stats.norm.ppf(power)
    if not size > z / math.sqrt(_MOST):
        raise BadValueError(
            f"no number of prompts shows an effect of {effect:g} at an sd of {sd:g}."
        )
    # The normal theory asks for a few less than the t test.
    n = max(2, math.floor((z / size) ** 2) - 1)
    while power_of(size, 1.0, n, level=level, one_sided=one_sided) < power:
        n += 1
    return n


def detectable_difference(values: Float[np.ndarray, " item"], *, power: float = 0.8) -> float:
    """Smallest true mean that so many paired differences show with this chance, two-sided at 5 %.

    `detectable_effect` at the values' own number and standard deviation, in their unit; NaN items
    are left out. NaN for fewer than two, and 0 for values that do not vary.
    """
    kept = values[~np.isnan(values)]
    if len(kept) < 2:
        return math.nan
    sd = float(kept.std(ddof=1))
    return detectable_effect(len(kept), sd, power=power) if sd else 0.0


def _check(sd: float, level: float, power: float | None = None) -> None:
    if not 0 < sd < math.inf:
        raise BadValueError(f"the standard deviation must be a positive number, got {sd}.")
    if not 0 < level < 1:
        raise BadValueError(f"the level must lie between 0 and 1, got {level}.")
    if power is not None and not level < power < 1:
        raise BadValueError(f"the power must lie between the level {level:g} and 1, got {power}.")
