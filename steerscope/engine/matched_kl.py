"""The doses at which many directions are compared: one length for all, or one KL for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
import pandas as pd
from jaxtyping import Float

from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.engine.score import mean_kl, with_kl
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.progress import Track, silent
from steerscope.steering.interventions import Cell, Steering

KL, NORM = "kl", "norm"
BOTH = (1, -1)  # signs of a dose
_ROUNDS = 6
_SMALLEST = 1e-12  # nats; what counts as no KL at all is not taken the logarithm of


Moved = Direction | Sequence[Direction]


def at_signs(moved: Moved, relative: float, signs: Sequence[int] = BOTH) -> list[Cell]:
    """What is moved added at a dose of each sign, in relative units; of several, each at that dose."""
    directions = [moved] if isinstance(moved, Direction) else moved
    return [
        Cell(tuple(Steering(d, Dose(sign * relative, "relative")) for d in directions))
        for sign in signs
    ]


def matched_doses(
    model: LensModel,
    directions: Sequence[Moved],
    prompts: Sequence[TextOrIds],
    matching: Matching,
    *,
    signs: Sequence[int] = BOTH,
    tolerance: float = 0.02,
    progress: Track = silent,
) -> pd.DataFrame:
    """For each direction the dose of the matched length and the one of the matched KL.

    The KL of a dose is that of KL(steered || plain) over the positions of the prompts but 0, mean
    over prompts and over the signs of the dose: match those whose effect is compared, since of one direction
    they may differ several times. The doses of the matching come first, from the smallest
    up until the KL is passed, for all directions together; then the interval in which it was passed is
    narrowed, in log KL over log dose, again for all together. `calibration.calibrate` does this for one
    direction, one sign and any operator.

    Args:
        model: the model.
        directions: any number, at any layers; several that are moved together count as one.
        prompts: texts or token ids, teacher-forced.
        matching: the doses that are tried first, and what is matched.
        signs: of the dose, 1 and -1 or one of them.
        tolerance: relative difference from the target KL that counts as reached.
        progress: shows the loop.

    Returns:
        Two rows per direction: direction (its place in the sequence), matching (`kl` or `norm`),
        dose_relative, kl_nats. Both are NaN where the doses do not reach the KL, start above it, jump
        over it, or give logits that are not finite before they reach it.

    Raises:
        BadValueError: no prompt; or no length is named and no direction reaches the KL.
    """
    if not prompts:
        raise BadValueError("doses are matched on prompts; give at least one.")
    curves = _Curves(model, directions, prompts, tuple(signs), progress)
    for dose in matching.doses:
        curves.measure([(i, dose) for i in range(len(directions)) if curves.below(i, matching.kl)])
    for _ in range(_ROUNDS):
        wanted = [
            (i, curves.guess(i, matching.kl))
            for i in range(len(directions))
            if math.isnan(curves.reached(i, matching.kl, tolerance))
        ]
        curves.measure([(i, dose) for i, dose in wanted if math.isfinite(dose)])
    reached = [curves.reached(i, matching.kl, tolerance) for i in range(len(directions))]
    length = matched_length(matching, reached)
    if math.isnan(length) and not with_kl(model, prompts):
        raise BadValueError("no prompt has two tokens, so that none has a KL; give longer ones.")
    if math.isnan(length):
        raise BadValueError(
            f"no layer reaches {matching.kl:g} nats at relative doses of {matching.doses[0]:g} to "
            f"{matching.doses[-1]:g}; give other doses, or another KL."
        )
    curves.measure([(i, length) for i, curve in enumerate(curves.found) if length not in curve])
    rows = []
    for i, curve in enumerate(curves.found):
        for kind, dose in ((KL, reached[i]), (NORM, length)):
            kl = curve.get(dose, math.nan)
            rows.append({"direction": i, "matching": kind, "dose_relative": dose, "kl_nats": kl})
    return pd.DataFrame(rows)


@dataclass(eq=False)
class _Curves:
    """KL by relative dose of each direction, as far as it has been measured."""

    model: LensModel
    directions: Sequence[Moved]
    prompts: Sequence[TextOrIds]
    signs: tuple[int, ...]
    progress: Track
    found: list[dict[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.found = [{} for _ in self.directions]

    def measure(self, wanted: Sequence[tuple[int, float]]) -> None:
        """KL of these directions at these doses."""
        if not wanted:
            return
        cells = [
            cell for i, dose in wanted for cell in at_signs(self.directions[i], dose, self.signs)
        ]
        by_cell = mean_kl(self.model, self.prompts, cells, progress=self.progress)
        nats = by_cell.reshape(-1, len(self.signs)).mean(dim=1).tolist()
        for (i, dose), kl in zip(wanted, nats, strict=True):
            self.found[i][dose] = kl

    def below(self, i: int, target: float) -> bool:
        """Whether no dose measured so far reaches the target, or gives logits that are not finite."""
        return all(kl < target for kl in self.found[i].values())

    def guess(self, i: int, target: float) -> float:
        """Where the KL should first reach the target; NaN outside the doses measured."""
        known = list(takewhile(lambda at: math.isfinite(at[1]), sorted(self.found[i].items())))
        if not known:
            return math.nan
        doses, kl = np.array(known).T
        return math.exp(at_matched_kl(np.maximum(kl, _SMALLEST), np.log(doses), target))

    def reached(self, i: int, target: float, tolerance: float) -> float:
        """The smallest dose measured whose KL is within the tolerance; NaN for none."""
        close = [d for d, kl in self.found[i].items() if abs(kl - target) <= tolerance * target]
        return min(close, default=math.nan)


@dataclass(frozen=True)
class Matching:
    """At which dose layers are compared.

    Attributes:
        doses: relative doses that are measured, ascending.
        relative: the dose at which layers are compared by length; None for the median over the
            layers of the dose that gives `kl`.
        kl: the KL in nats at which they are compared by what they change.

    The default makes both comparisons equally strong. A fixed length may be one that steers nothing:
    where the interval of every layer's effect holds zero, the order of the layers is noise and
    nothing can predict it.

    Raises:
        BadValueError: fewer than two doses, or doses that do not ascend from above 0 or do not reach
            `relative`.
    """

    doses: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
    relative: float | None = None
    kl: float = 0.1

    def __post_init__(self) -> None:
        if len(self.doses) < 2 or self.doses[0] <= 0 or list(self.doses) != sorted(set(self.doses)):
            raise BadValueError(
                f"the doses {self.doses} must be two or more, ascend and be above 0."
            )
        if self.relative is not None and not self.doses[0] <= self.relative <= self.doses[-1]:
            raise BadValueError(
                f"the matched dose {self.relative} is outside {self.doses[0]} to {self.doses[-1]}."
            )
        if not self.kl > 0:
            raise BadValueError(f"the matched KL {self.kl} must be above 0.")


def matched_length(matching: Matching, needed: Sequence[float]) -> float:
    """The relative dose at which all are compared, given what each needs for the matched KL.

    NaN where no dose is given to match by length, and none reaches the KL.
    """
    if matching.relative is not None:
        return matching.relative
    reached = [dose for dose in needed if math.isfinite(dose)]
    return float(np.median(reached)) if reached else math.nan


def at_matched_kl(
    kl: Float[np.ndarray, " dose"], values: Float[np.ndarray, " dose"], target: float
) -> float:
    """The value where the KL first reaches the target, linear in log KL; NaN outside the doses.

    Doses from the first on whose KL is no number, since the logits overflow, are outside.
    """
    known = int(np.argmin([*np.isfinite(kl), False]))
    if not known:
        return math.nan
    kl, values = kl[:known], values[:known]
    if not kl[0] <= target <= kl.max():
        return math.nan
    above = int(np.argmax(kl >= target))
    if above == 0:
        return float(values[0])
    part = slice(above - 1, above + 1)
    return float(np.interp(math.log(target), np.log(kl[part]), values[part]))
