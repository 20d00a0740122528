"""Searches for the dose at which a KL, measured as one goes, reaches a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steerscope.errors import NotFiniteError

_PARTS = 8  # of the bracket in every further round
_ROUNDS = 8
_STEP = 4.0  # from a size at which the KL is 0 or no number


@dataclass(frozen=True)
class Crossing:
    """Where a KL first reaches its target, as far as it was measured.

    Attributes:
        below: the dose before it; None if the smallest one reaches the target already.
        above: the smallest dose measured that reaches the target; None if none does.
        is_close: whether the KL at `above` is within the tolerance of the target.
        curve: KL in nats at every dose measured, ascending.
    """

    below: float | None
    above: float | None
    is_close: bool
    curve: dict[float, float]


def first_crossing(
    measure: Callable[[Sequence[float]], Sequence[float]],
    first_doses: Sequence[float],
    target: float,
    tolerance: float,
) -> Crossing:
    """Cut the first interval over which the KL passes the target, again and again.

    The KL need not rise with the dose; of what the first doses can tell apart, the crossing nearest
    to the smallest counts. A KL that jumps over the target ends in a narrow interval and not close.

    Args:
        measure: KL in nats at each of some doses, all in one batch.
        first_doses: that are measured first.
        target: nats.
        tolerance: relative difference from the target that is close.

    Raises:
        NotFiniteError: a KL that is no number at a dose before the target is reached.
    """
    curve: dict[float, float] = {}
    doses = list(first_doses)
    for _ in range(1 + _ROUNDS):
        curve.update(zip(doses, measure(doses), strict=True))
        found = _bracket(dict(sorted(curve.items())), target, tolerance)
        if found.below is None or found.above is None or found.is_close:
            break
        step = (found.above - found.below) / _PARTS
        doses = [found.below + i * step for i in range(1, _PARTS)]
    return found


def _bracket(curve: dict[float, float], target: float, tolerance: float) -> Crossing:
    below = None
    for dose, kl in curve.items():
        if not math.isfinite(kl):
            raise NotFiniteError(
                f"the KL is {kl} at a dose of {dose:g}, before it reaches {target:g} nats; check the "
                "model's weights and number format."
            )
        if kl >= target:
            return Crossing(below, dose, abs(kl - target) <= tolerance * target, curve)
        below = dose
    return Crossing(below, None, False, curve)


def sizes_at_kl(
    measure: Callable[[Sequence[tuple[int, float]]], Sequence[float]],
    starts: Sequence[float],
    target: float,
    *,
    tolerance: float,
    farthest: float,
    exponents: Sequence[float] = (),
) -> list[float]:
    """The size of each of many changes at which its KL is the target, all measured together.

    KL = a sᵇ gives the next size s, with b of the last two measurements; one that breaks the model is
    tried at a quarter, one that does nothing at four times its size. What is found need not be the
    first crossing; `first_crossing` finds that, at many times the price.

    Args:
        measure: KL in nats of some changes, each a number and a size, all in one batch.
        starts: the size of each change that is measured first.
        target: nats.
        tolerance: relative difference from the target that has reached it.
        farthest: how many times longer or shorter than its start a size may become.
        exponents: b of each before there are two measurements; default 2.

    Returns:
        A size for each; NaN where none was reached.
    """
    sizes, found = list(starts), [math.nan] * len(starts)
    powers = list(exponents) or [2.0] * len(starts)
    before: dict[int, tuple[float, float]] = {}
    going = list(range(len(starts))) if target > 0 else []
    for _ in range(1 + _ROUNDS):
        if not going:
            break
        for i, kl in zip(going, measure([(i, sizes[i]) for i in going]), strict=True):
            now = sizes[i], kl
            if abs(kl - target) <= tolerance * target:
                found[i] = sizes[i]
            elif not math.isfinite(kl) or kl <= 0:
                sizes[i] *= _STEP if kl <= 0 else 1 / _STEP
            else:
                powers[i] = _exponent(before.get(i), now, powers[i])
                before[i] = now
                sizes[i] *= (target / kl) ** (1 / powers[i])
        going = [
            i
            for i in going
            if math.isnan(found[i]) and 1 / farthest <= sizes[i] / starts[i] <= farthest
        ]
    return found


def _exponent(
    before: tuple[float, float] | None, now: tuple[float, float], exponent: float
) -> float:
    """b of KL = a sᵇ through two measurements; what it was where they do not tell."""
    if before is None or before[0] == now[0] or before[1] == now[1]:
        return exponent
    slope = math.log(now[1] / before[1]) / math.log(now[0] / before[0])
    return min(max(slope, 0.5), 8.0)
