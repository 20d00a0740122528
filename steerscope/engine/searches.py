"""Searches for the dose at which a KL, measured as one goes, reaches a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steerscope.errors import NotFiniteError

_PARTS = 8  # of the bracket in every further round
_ROUNDS = 8
_MOST_MEASURED = 16  # sizes of one change
_STEP = 4.0  # times longer or shorter than before, at most
_LEAST, _STEEPEST = 0.5, 8.0  # exponents of a KL; what noise could make of it is kept out


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
    exponents: Sequence[float] | None = None,
) -> list[float]:
    """The size of each of many changes at which its KL is the target, all measured together.

    KL = a sᵇ gives the next size s, with b of the last two measurements, at most four times longer or
    shorter; where too little and too much are known it lies between. What is found need not be the
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
    exponents = [2.0] * len(starts) if exponents is None else exponents
    found = [math.nan] * len(starts)
    ways = [_Way(start, farthest, b) for start, b in zip(starts, exponents, strict=True)]
    going = list(range(len(starts))) if target > 0 else []
    for _ in range(_MOST_MEASURED):
        if not going:
            break
        for i, kl in zip(going, measure([(i, ways[i].size) for i in going]), strict=True):
            if abs(kl - target) <= tolerance * target:
                found[i] = ways[i].size
            else:
                ways[i].learn(kl, target)
        going = [i for i in going if math.isnan(found[i]) and not ways[i].is_over]
    return found


@dataclass(eq=False)
class _Way:
    """Where one change is on its way to a KL.

    Attributes:
        size: that is measured next.
        farthest: how many times longer or shorter than at first it may become.
        exponent: b of KL = a sᵇ.
        is_over: whether there is no other size to measure.
    """

    size: float
    farthest: float
    exponent: float
    is_over: bool = False

    def __post_init__(self) -> None:
        self.exponent = min(max(self.exponent, _LEAST), _STEEPEST)
        self._within = self.size / self.farthest, self.size * self.farthest
        self._below, self._above = 0.0, math.inf  # sizes of too little and of too much
        self._before: tuple[float, float] | None = None
        self._rounds = 0  # since both are known

    def learn(self, kl: float, target: float) -> None:
        """Take the next size from what was measured at this one."""
        now, size = self.size, self.size
        if not math.isfinite(kl) or kl > target:
            self._above = min(self._above, now)
        else:
            self._below = max(self._below, now)
        if math.isfinite(kl) and kl > 0:
            slope = self.exponent
            if self._before is not None:
                slope = math.log(kl / self._before[1]) / math.log(now / self._before[0])
            self._before, self.exponent = (now, kl), min(max(slope, _LEAST), _STEEPEST)
            flat = slope < _LEAST  # tells nothing of how far it is
            size = now * (target / kl) ** (math.inf if flat else 1 / self.exponent)
        else:
            size = now * (_STEP if kl <= 0 else 1 / _STEP)
        size = min(max(size, now / _STEP), now * _STEP)
        if self._below and self._above < math.inf:
            self._rounds += 1  # a law that is none may creep, a middle does not
            if self._rounds % 3 == 0 or not self._below < size < self._above:
                size = math.sqrt(self._below * self._above)
        self.size = min(max(size, self._within[0]), self._within[1])
        self.is_over = self.size == now
