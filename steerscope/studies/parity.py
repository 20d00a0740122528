"""Calibrate to what is read in the texts: the dose at which steering does as much as is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.engine.calibration import Calibration
from steerscope.engine.calibration import calibrate as calibrate_kl
from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Sample
from steerscope.errors import BadValueError, TooLittleDataError, UnknownNameError
from steerscope.judges.judges import Judge, read_all
from steerscope.models.lens_model import LensModel
from steerscope.statistics import Estimate
from steerscope.steering.control_vectors import along
from steerscope.steering.interventions import Cell
from steerscope.steering.prompting import Prompting
from steerscope.steering.scopes import Scope
from steerscope.studies.bench import Decoding
from steerscope.texts.contrasts import Prompt
from steerscope.texts.words import count_words

KL, JUDGE, LENGTH = "kl", "judge", "length"
_FIRST = 5  # doses measured at first, from 0 to the largest
_RESAMPLES = 2000
_SEED = 0
_BEYOND = 0.025  # share of the resamples without a crossing from which an end is open


@dataclass(frozen=True)
class Parity:
    """The dose at which steering does as much as is asked for, in natural units.

    Attributes:
        metric: what was read.
        target: the mean that it should have.
        dose: smallest dose that has it, interpolated, with a 95 % bootstrap interval over prompts; the
            upper end is infinite where more than 2.5 % of the resamples do not reach it, and the dose
            NaN where the prompts themselves do not.
        largest: the largest dose that was tried.
        curve: mean at every dose measured, ascending.
    """

    metric: str
    target: float
    dose: Estimate
    largest: float
    curve: Mapping[float, float]

    @property
    def reached(self) -> bool:
        """Whether some dose reaches the target."""
        return not math.isnan(self.dose.value)

    def __str__(self) -> str:
        wanted = f"{self.metric} {self.target:.3g}"
        if not self.reached:
            if self.curve.get(0.0, -math.inf) > self.target:
                return (
                    f"{self.metric} is {self.curve[0.0]:.3g} without steering, above {self.target:.3g}, and is "
                    f"not brought to it at up to {self.largest:g} natural"
                )
            return f"{wanted} is not reached at up to {self.largest:g} natural"
        high = f"{self.dose.high:.2f}" if math.isfinite(self.dose.high) else "beyond"
        return (
            f"{wanted} at {self.dose.value:.2f} natural [{self.dose.low:.2f}, {high}], over "
            f"{self.dose.n} prompts"
        )


@dataclass(frozen=True)
class Reading:
    """How the effect of a dose is read off texts.

    Attributes:
        judge: reads them; None where the length alone is asked for.
        decoding: how they are written; the same random numbers at every dose.
        largest: dose in natural units up to which is looked.
        rounds: further doses, each in the middle of the interval that holds the crossing.

    Raises:
        BadValueError: a largest dose that is not positive, or fewer than 0 rounds.
    """

    judge: Judge | None = None
    decoding: Decoding = Decoding(48, Sample(0.7))  # noqa: RUF009 - frozen
    largest: float = 4.0
    rounds: int = 4

    def __post_init__(self) -> None:
        if not (math.isfinite(self.largest) and self.largest > 0):
            raise BadValueError(f"the largest dose is {self.largest}; it must be positive.")
        if self.rounds < 0:
            raise BadValueError(f"rounds is {self.rounds}; it must be at least 0.")


def calibrate(  # noqa: PLR0913 - what is aimed at, and by which steering
    model: LensModel,
    direction: Direction | Sequence[Direction],
    target: float | str,
    prompts: Sequence[str | Prompt],
    *,
    value: float | Prompting | None = None,
    reading: Reading | None = None,
    operator: str = "add",
    scope: Scope = Scope.all(),  # noqa: B008 - scopes are frozen
    statistic: str = "mean",
) -> Calibration | Parity:
    """The smallest dose that has as much effect as is asked for: a KL, a judged share, a length.

    A number, or the target `kl` with a value, is nats of KL(steered || plain), as `engine.calibration`
    finds them. `judge` is the share that the judge counts, `length` the words of a text, and any other
    name a metric that the judge reads. A value that is a `Prompting` is what asking has on the same
    prompts, so that steering and asking do as much (alpha parity).

    Args:
        model: the model.
        direction: where and which way; several are one control vector.
        target: nats, `kl`, `judge`, `length` or a metric of the judge.
        prompts: texts to continue, or for a KL to read.
        value: what the target is to be.
        reading: the judge, and how texts are written; needed for all but the KL.
        operator: what is done with the direction; with a judge one that takes a length.
        scope: at which positions.
        statistic: of the KL, as there.

    Raises:
        BadValueError: a value or a reading is missing, or one that means nothing is given.
        UnknownNameError: the judge reads no such metric.
        TooLittleDataError: fewer than two prompts that could be read.
    """
    if isinstance(value, int | float) and not math.isfinite(value):
        raise BadValueError(f"the value {value} is no finite number; say what the target is to be.")
    if not isinstance(target, str) or target == KL:
        nats = value if isinstance(target, str) else target
        if not isinstance(nats, int | float):
            raise BadValueError("the target kl needs a value in nats.")
        texts = [p.text if isinstance(p, Prompt) else p for p in prompts]
        return calibrate_kl(
            model, direction, nats, texts, operator=operator, scope=scope, statistic=statistic
        )
    if value is None:
        raise BadValueError(f"the target {target} needs a value: a number, or a Prompting.")
    if not isinstance(value, Prompting):
        _check_value(target, value)
    how = reading or Reading()
    asked = [p if isinstance(p, Prompt) else Prompt(p) for p in prompts]
    directions = (direction,) if isinstance(direction, Direction) else tuple(direction)
    read = _Reader(model, asked, target, how)

    def at(dose: float) -> Float[np.ndarray, " prompt"]:
        steering = along(directions, Dose(dose, "natural"), operator, scope, 1.0)
        return read(Cell((steering,)) if dose else Cell())

    wanted = read(Cell((value,))) if isinstance(value, Prompting) else float(value)
    curve = measured_curve(at, wanted, largest=how.largest, rounds=how.rounds)
    return parity(read.metric, curve, wanted)


def _check_value(target: str, value: float) -> None:
    """Refuse a share or a length that no texts have."""
    if target == JUDGE and not 0 <= value <= 1:
        raise BadValueError(f"the value {value:g} is no share of texts; give one from 0 to 1.")
    if target == LENGTH and value < 0:
        raise BadValueError(f"the value {value:g} is no length of a text; give 0 words or more.")


def in_words(found: Calibration | Parity) -> list[str]:
    """What was found, and the mean at every dose that was measured."""
    if isinstance(found, Parity):
        curve = (f"  {dose:.3f} natural: {mean:.3g}" for dose, mean in found.curve.items())
        return [f"{found}.", f"mean {found.metric} at each dose:", *curve]
    if not found.reached:
        return [f"{found.target:g} nats are not reached: {found.reason}."]
    return [f"{found.target:g} nats at {found.natural:.3f} natural ({found.absolute:.3g} long)."]


class _Reader:
    """One number a prompt, mean over its samples, under any condition."""

    def __init__(
        self, model: LensModel, prompts: Sequence[Prompt], target: str, how: Reading
    ) -> None:
        self.model, self.prompts, self.how = model, prompts, how
        if target != LENGTH and how.judge is None:
            raise BadValueError(f"the target {target} needs a judge; give reading=Reading(judge).")
        self.metric = target
        if target == JUDGE and how.judge is not None:
            self.metric = how.judge.effect.metric

    def __call__(self, cell: Cell) -> Float[np.ndarray, " prompt"]:
        d = self.how.decoding
        texts = [p.text for p in self.prompts]
        [written] = generate(
            self.model, texts, [cell], n_new=d.n_new, sampler=d.sampler, samples=d.samples
        )
        values = np.array(self._values(written)).reshape(len(texts), d.samples)
        there = ~np.isnan(values)
        sums = np.where(there, values, 0.0).sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.where(there.any(axis=1), sums / there.sum(axis=1), np.nan)

    def _values(self, written: Sequence[Continuation]) -> list[float]:
        if self.metric == LENGTH:
            return [float(count_words(c.text)) for c in written]
        judge = self.how.judge
        assert judge is not None
        asked = [p for p in self.prompts for _ in range(self.how.decoding.samples)]
        reads = read_all(judge, asked, written)
        if reads and self.metric not in reads[0]:
            raise UnknownNameError("metric of the judge", self.metric, [*reads[0], LENGTH, KL])
        share = self.metric == judge.effect.metric and judge.effect.is_share
        found = [read[self.metric] for read in reads]
        return [0.0 if share and math.isnan(v) else v for v in found]  # not read is not shown


def measured_curve(
    at: Callable[[float], Float[np.ndarray, " prompt"]],
    wanted: float | Float[np.ndarray, " prompt"],
    *,
    largest: float,
    rounds: int,
) -> dict[float, Float[np.ndarray, " prompt"]]:
    """Values at doses from 0 to the largest, and ever closer to the first that reaches what is wanted.

    Args:
        at: value of each prompt at a dose.
        wanted: the mean that is to be reached, or that of these values.
        largest: dose.
        rounds: further doses.
    """
    curve = {float(d): at(float(d)) for d in np.linspace(0.0, largest, _FIRST)}
    for _ in range(rounds):
        bracket = _bracket({d: float(np.nanmean(v)) for d, v in curve.items()}, _mean(wanted))
        if bracket is None or bracket[0] == bracket[1]:
            break
        middle = sum(bracket) / 2
        curve[middle] = at(middle)
    return dict(sorted(curve.items()))


def parity(
    metric: str,
    curve: Mapping[float, Float[np.ndarray, " prompt"]],
    wanted: float | Float[np.ndarray, " prompt"],
) -> Parity:
    """The first dose at which the mean over prompts is what is wanted, with a bootstrap over prompts.

    The curve is linear between doses. Where what is wanted was measured on the same prompts, the same
    prompts are drawn of both.

    Raises:
        TooLittleDataError: fewer than two prompts with a number at every dose.
    """
    doses = np.array(sorted(curve))
    values = np.stack([curve[d] for d in doses])
    aim = np.broadcast_to(np.asarray(wanted, dtype=float), values.shape[1:])
    whole = ~np.isnan(values).any(axis=0) & ~np.isnan(aim)
    values, aim = values[:, whole], aim[whole]
    n = values.shape[1]
    if n < 2:
        raise TooLittleDataError(
            f"{metric} was read at every dose on {n} prompt{'s' * (n != 1)}; it takes two."
        )
    draws = np.random.default_rng(_SEED).integers(n, size=(_RESAMPLES, n))
    found = np.array(
        [_first(doses, values[:, draw].mean(axis=1), aim[draw].mean()) for draw in draws]
    )
    middle = _first(doses, values.mean(axis=1), aim.mean())
    never = np.isinf(found).mean()
    low = float(np.quantile(found, 0.025, method="lower"))
    high = math.inf if never > _BEYOND else float(np.quantile(found, 0.975, method="lower"))
    dose = Estimate(float(middle), low, high, n)
    if math.isinf(middle):
        dose = Estimate(math.nan, low if math.isfinite(low) else math.nan, math.inf, n)
    means = {float(d): float(m) for d, m in zip(doses, values.mean(axis=1), strict=True)}
    return Parity(metric, float(aim.mean()), dose, float(doses[-1]), means)


def _mean(wanted: float | Float[np.ndarray, " prompt"]) -> float:
    return float(np.nanmean(wanted))


def _bracket(means: Mapping[float, float], target: float) -> tuple[float, float] | None:
    """The first two neighbouring doses with the target between their means; None for none."""
    doses = sorted(means)
    if means[doses[0]] == target:
        return doses[0], doses[0]
    for below, above in zip(doses, doses[1:], strict=False):
        if (means[below] - target) * (means[above] - target) <= 0:
            return below, above
    return None


def _first(
    doses: Float[np.ndarray, " dose"], means: Float[np.ndarray, " dose"], target: float
) -> float:
    """The first dose at which the line through the means is at the target; infinite for none."""
    bracket = _bracket(dict(zip(doses.tolist(), means.tolist(), strict=True)), target)
    if bracket is None:
        return math.inf
    below, above = bracket
    at = {d: float(m) for d, m in zip(doses, means, strict=True)}
    if above == below or at[above] == at[below]:
        return below
    return below + (target - at[below]) / (at[above] - at[below]) * (above - below)
