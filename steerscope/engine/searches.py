"""Search for the smallest dose at which a KL, measured as one goes, reaches a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steerscope.errors import NotFiniteError

_PARTS = 8  # of the bracket in every further round
_ROUNDS = 8


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
