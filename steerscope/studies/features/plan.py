"""What a trial of directions and features is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from steerscope.errors import BadValueError
from steerscope.texts.numbers import check_temperature


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """How directions are tried.

    Attributes:
        kls: nats at which they are compared; the verdict is at the first.
        k: features of a feature-targeted direction.
        n_select: prompts on which the KL is matched, at most.
        n_test: held-out prompts, at most.
        n_new: tokens of each continuation.
        temperature: at which they are sampled.
        seed: of nulls, sampling and resamples.

    Raises:
        BadValueError: a number below 1, or no KL.
    """

    kls: tuple[float, ...] = (0.2,)
    k: int = 8
    n_select: int = 12
    n_test: int = 120
    n_new: int = 40
    temperature: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.kls or min(self.kls) <= 0:
            raise BadValueError(f"the KLs {self.kls} must be positive numbers of nats.")
        if min(self.k, self.n_select, self.n_test, self.n_new) < 1:
            raise BadValueError("counts of features, prompts and tokens must be at least 1.")
        check_temperature(self.temperature)
