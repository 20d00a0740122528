"""What a measure is: a number with its interval, out of an experiment's runs, under a name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.statistics import (
    CONFIDENCE,
    clustered_mean,
    detectable_difference,
    sign_flip,
    sign_flip_p,
)


@dataclass(frozen=True)
class Measured:
    """A number with its interval, and what it was computed from.

    Attributes:
        p: two-sided, of its being zero.
        n: how many `items` it counts.
        values: one per item that is known, of which the number is the mean, with what is invented beside
            shares that do not vary; empty for another kind of number.
        draws: what it is when the items are drawn again, where that was done.
        detectable: distance from a threshold that so many items show in 4 of 5 cases; NaN if unknown.
        unknown: the runs, or parts of them, that gave no item, so that the number is not about them.
    """

    value: float
    low: float
    high: float
    p: float
    n: int
    unit: str
    items: str
    values: tuple[float, ...] = ()
    draws: tuple[float, ...] = ()
    detectable: float = math.nan
    unknown: tuple[str, ...] = ()

    def p_at(self, threshold: float) -> float:
        """Two-sided p of the number being the threshold; NaN where nothing was kept to test it by."""
        if threshold == 0:
            return self.p
        if self.values:
            return _flipped_p(np.array(self.values) - threshold)
        if self.draws:
            return _two_sided(np.array(self.draws), threshold)
        return math.nan

    def p_outside(self, threshold: float) -> float:
        """P of the number lying no nearer to zero than the threshold: the larger of two one-sided ones.

        Source: two one-sided tests, Schuirmann 1987.
        """
        if self.values:
            items = np.array(self.values)
            low, high = (_above_p(threshold + sign * items) for sign in (1, -1))
            return max(low, high)
        if self.draws:
            draws = np.array(self.draws)
            return max(_tails(draws, threshold)[1], _tails(draws, -threshold)[0])
        return math.nan


Measure = Callable[..., Measured]
MEASURES: dict[str, Measure] = {}


def measure(function: Measure) -> Measure:
    """Register a measure under its own name."""
    MEASURES[function.__name__] = function
    return function


def check_measure(name: str, settings: Mapping[str, Any]) -> Measure:
    """The measure of that name, if it takes these settings and needs no other.

    Raises:
        UnknownNameError: no such measure, or no such setting of it.
        BadValueError: it needs another setting.
    """
    if name not in MEASURES:
        raise UnknownNameError("measure", name, MEASURES)
    parameters = dict(inspect.signature(MEASURES[name]).parameters)
    takes = list(parameters)[1:]
    for setting in settings:
        if setting not in takes:
            raise UnknownNameError(f"setting of the measure {name}", setting, takes)
    needed = [t for t in takes if parameters[t].default is inspect.Parameter.empty]
    missing = [t for t in needed if t not in settings]
    if missing:
        raise BadValueError(f"the measure {name} needs {', '.join(missing)}.")
    return MEASURES[name]


def of_items(items: Float[np.ndarray, " item"], unit: str) -> Measured:
    """Mean over prompts with its interval by Student's t and its sign-flip p; NaN items are left out.

    Shares that do not vary have two invented items beside them, one better and one worse, so that nothing
    seen in few prompts is not taken for nothing.

    Source: Agresti & Min 2005, for matched pairs.
    """
    items = items[~np.isnan(items)]
    found, tested = clustered_mean(items), items
    detectable = detectable_difference(items)
    if unit == "share" and len(items) > 1 and not np.ptp(items):
        tested, detectable = np.append(items, [1.0, -1.0]), math.nan
        wider = clustered_mean(tested)
        low, high = max(-1.0, wider.low), min(1.0, wider.high)
        found = replace(found, low=low, high=high)
    return Measured(
        found.value,
        found.low,
        found.high,
        _flipped_p(tested),
        found.n,
        unit,
        "prompts",
        values=tuple(map(float, tested)),
        detectable=detectable,
    )


def of_parts(parts: Sequence[Float[np.ndarray, " _"]], names: Sequence[str], unit: str) -> Measured:
    """`of_items` of the prompts of several runs; those of which no item is known are `unknown`."""
    found = of_items(np.concatenate([np.empty(0), *parts]), unit)
    return replace(found, unknown=without_items(parts, names))


def without_items(
    parts: Sequence[Float[np.ndarray, " _"]], names: Sequence[str]
) -> tuple[str, ...]:
    """Names of the parts of which no item is known."""
    return tuple(n for n, items in zip(names, parts, strict=True) if np.isnan(items).all())


def of_draws(
    value: float, draws: Float[np.ndarray, " sample"], n: int, unit: str, items: str
) -> Measured:
    """A number with the interval that holds 95 % of its draws, and twice the smaller tail at zero."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    p = _two_sided(draws, 0.0) if math.isfinite(value) else math.nan
    kept = tuple(map(float, draws))
    return Measured(value, float(low), float(high), p, n, unit, items, draws=kept)


def _tails(draws: Float[np.ndarray, " sample"], at: float) -> tuple[float, float]:
    """Shares of the draws at most, and at least, a number; never 0, and NaN where a draw is NaN."""
    if np.isnan(draws).any():
        return math.nan, math.nan
    below, above = (float((1 + hit.sum()) / (1 + len(draws))) for hit in (draws <= at, draws >= at))
    return below, above


def _two_sided(draws: Float[np.ndarray, " sample"], at: float) -> float:
    """Twice the smaller tail, at most 1; NaN where a draw is NaN."""
    twice = 2 * min(_tails(draws, at))
    return min(twice, 1.0)


def _flipped_p(items: Float[np.ndarray, " item"]) -> float:
    """Two-sided sign-flip p of a mean of zero; NaN for none, 1 where all items are zero."""
    if not len(items):
        return math.nan
    return 1.0 if not items.any() else sign_flip_p(items)


def _above_p(items: Float[np.ndarray, " item"]) -> float:
    """One-sided sign-flip p of a mean at or below zero; NaN items are left out."""
    items = items[~np.isnan(items)]
    return float(sign_flip(items[None])[0])
