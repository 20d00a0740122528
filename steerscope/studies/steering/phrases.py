"""Pieces of sentences: an effect with its interval, a size, prices, a number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steerscope.judges.effects import Effect
from steerscope.statistics import Estimate
from steerscope.studies.steering.verdict import Cost

_MOST_DIGITS = 4  # after the point


def amount(
    effect: Effect, estimate: Estimate, *, difference: bool = False, apart: float = math.nan
) -> str:
    """An effect with its interval, in percent or nats; what was not measured is unknown.

    Args:
        effect: whose unit it has.
        estimate: as it was measured.
        difference: whether it is a difference, of shares in points.
        apart: a limit that no end of the interval may look equal to unless it is.
    """
    if math.isnan(estimate.value):
        return "unknown"
    if math.isnan(estimate.low):
        none = f"({_no_interval(estimate)})"
        if effect.is_share and difference:
            return f"{100 * estimate.value:+.1f} points {none}"
        factor, unit = (100.0, " %") if effect.is_share else (1.0, " nats")
        return f"{factor * estimate.value:.2f}{unit} {none}"
    numbers = (estimate.value, estimate.low, estimate.high)
    if not effect.is_share:
        n = digits_apart(numbers[1:], apart, 2)
        value, low, high = (f"{x:+.{n}f}" for x in numbers)
        return f"{value} nats [{low}, {high}]"
    if difference:
        n = digits_apart([100 * x for x in numbers[1:]], 100 * apart, 1)
        value, low, high = (f"{100 * x:+.{n}f}" for x in numbers)
        return f"{value} points [{low}, {high}]"
    return percent(estimate)


def digits_apart(values: Sequence[float], limit: float, digits: int) -> int:
    """The digits after the point, so many at least, at which no value is printed as a limit that it is not."""
    for n in range(digits, _MOST_DIGITS):
        if all(v == limit or round(v, n) != round(limit, n) for v in values):
            return n
    return _MOST_DIGITS


def percent(share: Estimate) -> str:
    """A share with its interval."""
    if math.isnan(share.value):
        return "unknown"
    if math.isnan(share.low):
        return f"{100 * share.value:.1f} % ({_no_interval(share)})"
    value, low, high = (100 * x for x in (share.value, share.low, share.high))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def size(effect: Effect, value: float) -> str:
    """A difference in points or nats."""
    return f"{100 * value:g} points" if effect.is_share else f"{value:g} nats"


def prices(costs: Sequence[Cost]) -> str:
    """The costs that are not surely within their limits: what was seen, then what may be unseen."""
    seen = ", ".join(_price(c) for c in costs if not (c.is_kept or c.is_unseen))
    unseen = [c for c in costs if c.is_unseen]
    if not unseen:
        return seen
    words = ", ".join(c.words for c in unseen)
    n = min(c.read for c in unseen)
    texts = "1 text without a sign of it is" if n == 1 else f"{n} texts without a sign of it are"
    few = f"{texts} too few to rule out: {words}"
    return f"{seen}; {few}" if seen else few


def _price(cost: Cost) -> str:
    """By how much a cost is over its limit, or may be."""
    factor, unit = (100.0, " points") if cost.is_share else (1.0, "")
    worse, low, high, limit = (
        factor * x for x in (cost.worse.value, cost.worse.low, cost.worse.high, cost.limit)
    )
    if cost.is_unknown:
        return f"{cost.words} unknown"
    digits = 1 if cost.is_share else 2
    if math.isnan(low):
        most = "unknown" if math.isnan(limit) else f"{limit:.{digits}f}"
        return f"{cost.words} worse by {worse:.{digits}f}{unit} ({_no_interval(cost.worse)}; limit {most})"
    n = digits_apart((low, high), limit, digits)
    if worse < 0:
        return (
            f"{cost.words} better by {-worse:.{n}f}{unit}, and perhaps worse by up to {high:.{n}f} "
            f"(limit {limit:.{digits}f})"
        )
    return (
        f"{cost.words} worse by {worse:.{n}f}{unit} [{low:.{n}f}, {high:.{n}f}] "
        f"(limit {limit:.{digits}f})"
    )


def _no_interval(estimate: Estimate) -> str:
    """Why an estimate has no interval."""
    return f"no interval: {estimate.n} distinct"


def number(value: float) -> str:
    """A number with two digits; what was not measured is unknown."""
    return "unknown" if math.isnan(value) else f"{value:.2f}"
