"""What a measure is: a number with its interval, out of an experiment's runs, under a name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.statistics import (
    CONFIDENCE,
    by_cluster,
    clustered_difference,
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
        values: one per distinct item that is known, of which the number is the mean, with what is invented
            beside shares that do not vary; empty for another kind of number.
        weights: how often each of them counts in the mean: the items that say it, over their mean number; empty for
            once each.
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
    weights: tuple[float, ...] = ()
    draws: tuple[float, ...] = ()
    detectable: float = math.nan
    unknown: tuple[str, ...] = ()

    def p_at(self, threshold: float) -> float:
        """Two-sided p of the number being the threshold; NaN where nothing was kept to test it by."""
        if threshold == 0:
            return self.p
        if self.values:
            return _flipped_p(np.array(self.values) - threshold * self._weights)
        if self.draws:
            return _two_sided(np.array(self.draws), threshold)
        return math.nan

    def p_outside(self, threshold: float) -> float:
        """P of the number lying no nearer to zero than the threshold: the larger of two one-sided ones.

        Source: two one-sided tests, Schuirmann 1987.
        """
        if self.values:
            items, edge = np.array(self.values), threshold * self._weights
            low, high = (_above_p(edge + sign * items) for sign in (1, -1))
            return max(low, high)
        if self.draws:
            draws = np.array(self.draws)
            return max(_tails(draws, threshold)[1], _tails(draws, -threshold)[0])
        return math.nan

    @property
    def spread(self) -> float:
        """Standard deviation of what a distinct item adds to the mean; 0 for fewer than two."""
        if len(self.values) < 2:
            return 0.0
        values = np.array(self.values)
        return float(np.std(values - values.mean() * self._weights, ddof=1))

    @property
    def _weights(self) -> Float[np.ndarray, " item"]:
        return np.array(self.weights) if self.weights else np.ones(len(self.values))


_ROUNDING = 1e-12
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


def of_items(
    items: Float[np.ndarray, " item"],
    unit: str,
    labels: Shaped[np.ndarray, " item"] | None = None,
) -> Measured:
    """Mean over prompts with its interval by Student's t and its sign-flip p; NaN items are left out.

    Shares whose items are yes or no have an interval widened by two invented items, one better and one worse, so that
    what few prompts show is not taken for rarer than it is: without them 7 to 12 % of claims at the edge of a rare
    share were supported. So have shares that do not vary, of which the two count in p too. No end of a share is beyond 1.

    Args:
        items: one number each.
        unit: of the numbers.
        labels: the distinct prompt or contrast that each is, which counts once; each its own by default.

    Source: Agresti & Min 2005, for matched pairs.
    """
    known = ~np.isnan(items)
    distinct = (np.arange(len(items)) if labels is None else labels)[known]
    items = items[known]
    found = clustered_mean(items, distinct)
    values, weights = (by_cluster(part, distinct) for part in (items, np.ones(len(items))))
    detectable = detectable_difference(values - found.value * (weights - 1))
    alike = len(values) > 1 and np.abs(values - found.value * weights).max() < _ROUNDING
    if unit == "share" and len(values) > 1 and (alike or np.isin(items, (-1.0, 0.0, 1.0)).all()):
        wider = clustered_difference(items, distinct, share=True)
        found = replace(found, low=wider.low, high=wider.high)
    elif unit == "share":
        low, high = np.clip([found.low, found.high], -1.0, 1.0)  # what is unknown stays so
        found = replace(found, low=float(low), high=float(high))
    if unit == "share" and alike:
        values, weights = np.append(values, [1.0, -1.0]), np.append(weights, [1.0, 1.0])
        detectable = math.nan
    return Measured(
        found.value,
        found.low,
        found.high,
        _flipped_p(values),
        found.n,
        unit,
        "prompts",
        values=tuple(map(float, values)),
        weights=tuple(map(float, weights)),
        detectable=detectable,
    )


def of_parts(
    parts: Sequence[Float[np.ndarray, " _"]],
    names: Sequence[str],
    unit: str,
    labels: Sequence[Int[np.ndarray, " _"]] | None = None,
) -> Measured:
    """`of_items` of the prompts of several runs; those of which no item is known are `unknown`.

    Args:
        parts: of each run one number an item.
        names: of the runs.
        unit: of the numbers.
        labels: of each run the distinct item that each is; two runs share none.
    """
    given = [np.arange(len(p)) for p in parts] if labels is None else labels
    numbers = [np.unique(part, return_inverse=True)[1] for part in given]
    first = np.cumsum([0, *(len(set(part.tolist())) for part in numbers)])
    distinct = [part + start for part, start in zip(numbers, first, strict=False)]
    none = np.empty(0, int)
    found = of_items(np.concatenate([none, *parts]), unit, np.concatenate([none, *distinct]))
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
