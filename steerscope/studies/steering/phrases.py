"""Pieces of sentences: an effect with its interval, a size, prices, a number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steerscope.judges.effects import Effect
from steerscope.statistics import Estimate
from steerscope.studies.steering.verdict import Cost


def amount(effect: Effect, estimate: Estimate, *, difference: bool = False) -> str:
    """An effect with its interval, in percent or nats; what was not measured is unknown."""
    if math.isnan(estimate.value):
        return "unknown"
    if math.isnan(estimate.low):
        none = f"({_no_interval(estimate)})"
        if effect.is_share and difference:
            return f"{100 * estimate.value:+.1f} points {none}"
        factor, unit = (100.0, " %") if effect.is_share else (1.0, " nats")
        return f"{factor * estimate.value:.2f}{unit} {none}"
    if not effect.is_share:
        return f"{estimate.value:+.2f} nats [{estimate.low:+.2f}, {estimate.high:+.2f}]"
    if difference:
        value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
        return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"
    return percent(estimate)


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
    few = (
        f"{min(c.read for c in unseen)} texts without a sign of it are too few to rule out: {words}"
    )
    return f"{seen}; {few}" if seen else few


def _price(cost: Cost) -> str:
    """By how much a cost is over its limit, or may be."""
    factor, unit = (100.0, " points") if cost.is_share else (1.0, "")
    worse, low, high, limit = (
        factor * x for x in (cost.worse.value, cost.worse.low, cost.worse.high, cost.limit)
    )
    digits = 1 if cost.is_share else 2
    if math.isnan(low):
        most = "unknown" if math.isnan(limit) else f"{limit:.{digits}f}"
        return f"{cost.words} worse by {worse:.{digits}f}{unit} ({_no_interval(cost.worse)}; limit {most})"
    return (
        f"{cost.words} worse by {worse:.{digits}f}{unit} [{low:.{digits}f}, {high:.{digits}f}] "
        f"(limit {limit:.{digits}f})"
    )


def _no_interval(estimate: Estimate) -> str:
    """Why an estimate has no interval."""
    return f"no interval: {estimate.n} distinct"


def number(value: float) -> str:
    """A number with two digits; what was not measured is unknown."""
    return "unknown" if math.isnan(value) else f"{value:.2f}"
