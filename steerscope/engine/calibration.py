"""The dose that moves the model's predictions by so many nats: the unit `kl`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch

from steerscope.directions import Direction
from steerscope.doses import Dose, Length, Scale
from steerscope.engine.score import kl_by_position
from steerscope.engine.searches import first_crossing
from steerscope.errors import BadValueError, check_name
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.models.prompts import Prompts, as_prompts
from steerscope.steering.control_vectors import ControlVector, along
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.operators import find_operator
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import Strength

Statistic = Literal["mean", "p95"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)

_HALVINGS = range(-12, 7)  # the first doses tried, relative ones from 2 ** -12 to 2 ** 6
_TOLERANCE = 0.02  # of the target: a KL this near to it has reached it


def check_statistic(name: str) -> Statistic:
    """The statistic of that name.

    Raises:
        UnknownNameError: there is none; the message lists the known statistics.
    """
    return check_name("statistic", name, STATISTICS)


@dataclass(frozen=True)
class KL:
    """KL(steered || plain) over the positions of prompts but 0, in nats.

    Attributes:
        mean: over the positions of each prompt, then over prompts.
        p95: 95th percentile over all positions of all prompts.
    """

    mean: float
    p95: float


@dataclass(frozen=True)
class Calibration:
    """The smallest dose found at which the KL from plain reaches a target.

    Attributes:
        target: nats asked for.
        statistic: which statistic of the KL is to reach it.
        dose: an absolute length, for several layers natural units, or an angle; None for an
            operator without a dose. Where the target
            was not reached, the largest dose tried, or the smallest where that is too much already.
        kl: what that dose gives.
        reached: whether the target is met within 2 %.
        reason: why not; empty if reached.
        scale: what converts the dose.
        curve: every dose measured, as a number in the unit of `dose`, with its KL, ascending.
    """

    target: float
    statistic: Statistic
    dose: Dose | None
    kl: KL
    reached: bool
    reason: str
    scale: Scale
    curve: tuple[tuple[float, KL], ...] = field(repr=False)

    @property
    def absolute(self) -> float:
        """The dose as an L2 length in activation space; NaN for an angle or none."""
        length = self.dose is not None and self.dose.unit != "degrees"
        return self.dose.absolute(self.scale) if self.dose and length else math.nan

    @property
    def relative(self) -> float:
        """The dose in median activation norms; NaN for an angle or none."""
        return self.absolute / self.scale.relative

    @property
    def natural(self) -> float:
        """The dose in class separations; NaN for an angle or none."""
        return self.absolute / self.scale.natural

    @property
    def required(self) -> Dose | None:
        """The dose, for callers that cannot do without.

        Raises:
            BadValueError: the target was not reached.
        """
        if not self.reached:
            raise BadValueError(f"no dose gives {self.target:g} nats here: {self.reason}.")
        return self.dose


def calibrate(
    model: LensModel,
    direction: Direction | Sequence[Direction],
    target_kl: float,
    prompts: Prompts,
    *,
    operator: str = "add",
    scope: Scope = Scope.all(),  # noqa: B008 - scopes are frozen
    strength: float | Strength = 1.0,
    statistic: str = "mean",
) -> Calibration:
    """The smallest dose along a direction at which KL(steered || plain) reaches a target.

    Doses in steps of a factor of two come first, all in one batch. The first interval from zero
    over which the KL passes the target is then cut into equal parts again and again; KL need not
    rise with the dose, and the crossing nearest to zero counts. For the other sign give `-direction`.

    Args:
        model: the model.
        direction: where and which way; several at sites of their own are one control vector with
            one coefficient, in natural units of each.
        target_kl: nats, positive.
        prompts: texts or token ids, teacher-forced.
        operator: what is done with the direction.
        scope: at which positions of the prompts; the KL counts all positions but 0.
        strength: share of the change that is made: a number from 0 to 1, a schedule or a gate.
        statistic: `mean` or `p95` of the KL over positions.

    Raises:
        BadValueError: no prompt, a target that is not positive, or two directions at one site.
        UnknownNameError: no such statistic or operator.
        NotFiniteError: the logits are not finite before the target is reached.

    Source: the iso-KL idea of wassname/steering-lite, which iterates on one length at a time and
    trusts that KL rises with it.
    """
    if not (math.isfinite(target_kl) and target_kl > 0):
        raise BadValueError(f"the target KL is {target_kl}; it must be a positive number.")
    directions = (direction,) if isinstance(direction, Direction) else tuple(direction)
    steering = along(directions, _zero(directions, operator), operator, scope, strength)
    search = _Search(model, steering, as_prompts(prompts), check_statistic(statistic))
    if steering.dose is None:
        return search.without_dose(target_kl)
    return search.result(target_kl)


def dose_in_nats(
    model: LensModel,
    directions: Sequence[Direction],
    nats: float,
    prompts: Prompts,
    *,
    operator: str = "add",
    scope: Scope = Scope.all(),  # noqa: B008 - scopes are frozen
    strength: float | Strength = 1.0,
) -> Dose:
    """The dose nearest to zero that moves the predictions by so many nats; a negative one for negative nats.

    The directions stay as they are, and so does what a gate measures along them.

    Raises:
        BadValueError: no dose does, or the operator takes none of that sign.
        SteerscopeError: as `calibrate`.
    """
    found = find_operator(operator)
    if nats < 0 and found.takes == "angle" and found.sets:
        raise BadValueError(
            f"operator {operator!r} takes an angle of 0..180 degrees, so no negative number of nats."
        )
    if not (math.isfinite(nats) and nats != 0):
        raise BadValueError(f"a dose of {nats:g} kl is no target; give nats other than 0.")
    zero = _zero(directions, operator)
    found.check(zero)
    steering = along(directions, zero, operator, scope, strength)
    sign = math.copysign(1.0, nats)
    dose = _Search(model, steering, as_prompts(prompts), "mean", sign).result(abs(nats)).required
    assert dose is not None
    return dose


def _zero(directions: Sequence[Direction], operator: str) -> Dose | None:
    """The dose from which a search goes up; None for an operator that takes none."""
    takes = find_operator(operator).takes
    length: Length = "absolute" if len(directions) == 1 else "natural"
    return None if takes == "nothing" else Dose(0.0, "degrees" if takes == "angle" else length)


@dataclass(frozen=True, eq=False)
class _Search:
    """What is searched over, and the KL of the doses measured so far.

    Attributes:
        steering: what is done, at a dose of 0 or without one.
        sign: of the doses.
        curve: by the dose without its sign.
    """

    model: LensModel
    steering: Steering | ControlVector
    prompts: Sequence[TextOrIds]
    statistic: Statistic
    sign: float = 1.0
    curve: dict[float, KL] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.prompts:
            raise BadValueError("a calibration needs at least one prompt.")
        if min(len(self.model.tokens(p)) for p in self.prompts) < 2:
            raise BadValueError("a prompt has no token but position 0; use longer prompts.")

    def result(self, target: float) -> Calibration:
        """The first crossing of the target, or why there is none."""
        found = first_crossing(self._measure, [0.0, *self._first_doses()], target, _TOLERANCE)
        kl = found.curve
        if found.above is None:
            last, most = max(kl), max(kl.values())
            why = f"the KL never exceeds {most:.3g} nats up to a dose of {self._dose(last)}"
            if most == 0.0:
                why = (
                    "the KL is 0 at every dose; no position of the prompts is in scope "
                    f"{self.steering.scope} at a strength above 0"
                )
            elif most <= _rounding(self.model):
                why += (
                    ", which rounding alone may give; perhaps no position of the prompts is in scope "
                    f"{self.steering.scope} at a strength above 0"
                )
            return self._found(target, last, False, why)
        at = f"{kl[found.above]:.3g} nats at a dose of"
        if found.below is None:
            why = f"operator {self.steering.operator!r} gives {at} 0 already"
            return self._found(target, found.above, False, why)
        why = f"the KL jumps from {kl[found.below]:.3g} to {at} {self._dose(found.above)}"
        return self._found(target, found.above, found.is_close, why)

    def without_dose(self, target: float) -> Calibration:
        """What an operator without a dose gives, and whether that is the target."""
        (kl,) = self._measure([0.0])
        reached = abs(kl - target) <= _TOLERANCE * target
        why = f"operator {self.steering.operator!r} takes no dose and gives {kl:.3g} nats"
        return self._found(target, 0.0, reached, why)

    def _first_doses(self) -> list[float]:
        """Ascending: all angles to 180 degrees or lengths to 64 activation norms, by factors of 2."""
        if self.steering.dose is not None and self.steering.dose.unit == "degrees":
            return [180.0 * 2.0 ** (h - _HALVINGS[-1]) for h in _HALVINGS]
        return [self.steering.scale.relative / self._one * 2.0**h for h in _HALVINGS]

    @property
    def _one(self) -> float:
        """Absolute length of one unit of the dose."""
        dose = self.steering.dose
        several = dose is not None and dose.unit == "natural"
        return self.steering.scale.natural if several else 1.0

    def _dose(self, amount: float) -> Dose | None:
        return self.steering.dose and replace(self.steering.dose, value=self.sign * amount)

    def _measure(self, amounts: Sequence[float]) -> list[float]:
        """The statistic at each dose; both statistics are kept."""
        cells = [Cell((replace(self.steering, dose=self._dose(a)),)) for a in amounts]
        by_prompt = kl_by_position(self.model, self.prompts, cells)
        means = torch.stack([kl.mean(dim=1) for kl in by_prompt]).mean(dim=0)
        p95 = torch.cat(by_prompt, dim=1).quantile(0.95, dim=1)
        for amount, mean, high in zip(amounts, means.tolist(), p95.tolist(), strict=True):
            self.curve[amount] = KL(mean, high)
        return [getattr(self.curve[a], self.statistic) for a in amounts]

    def _found(self, target: float, amount: float, reached: bool, reason: str) -> Calibration:
        return Calibration(
            target=target,
            statistic=self.statistic,
            dose=self._dose(amount),
            kl=self.curve[amount],
            reached=reached,
            reason="" if reached else reason,
            scale=self.steering.scale,
            curve=tuple(sorted(self.curve.items())),
        )


def _rounding(model: LensModel) -> float:
    """A KL, in nats, that two passes may differ by for the order of their sums alone."""
    return max(1e-6, (10 * torch.finfo(model.dtype).eps) ** 2)
