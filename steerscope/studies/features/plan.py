"""What a trial of directions and features is asked to do, alone and as a run of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steerscope.errors import BadValueError
from steerscope.studies.planned import OfModel
from steerscope.texts.numbers import check_temperature


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """How directions are tried.

    Attributes:
        kls: nats at which they are compared; the verdict is at the first.
        k: features of a feature-targeted direction.
        n_nulls: null directions of each of the two kinds; with 10 or more it can be told what is above them.
        n_select: prompts on which the KL is matched, at most.
        n_test: held-out prompts, at most.
        n_new: tokens of each continuation.
        temperature: at which they are sampled.
        seed: of nulls, sampling and resamples.

    Raises:
        BadValueError: a number below 1, no KL, one twice, or one that is no positive number.
    """

    kls: tuple[float, ...] = (0.2,)
    k: int = 8
    n_nulls: int = 1
    n_select: int = 12
    n_test: int = 120
    n_new: int = 40
    temperature: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.kls or not all(0 < kl < math.inf for kl in self.kls):
            raise BadValueError(f"the KLs {self.kls} must be positive numbers of nats.")
        if len(set(self.kls)) < len(self.kls):
            raise BadValueError(f"the KLs {self.kls} name one twice; give each once.")
        if min(self.k, self.n_nulls, self.n_select, self.n_test, self.n_new) < 1:
            raise BadValueError("counts of features, nulls, prompts and tokens must be at least 1.")
        check_temperature(self.temperature)


@dataclass(frozen=True, kw_only=True)
class FeaturePlan(TrialPlan, OfModel):
    """A trial of the directions and features of one concept, as a run.

    Attributes:
        autoencoder: bundled name, folder or release; all is steered where it reads.
        contrasts: the concept; directions and features come from its fit split.
        prompts: continued; None for those that the contrast set is stated on.
        judge: reads the texts, as in a plan of a study; None for the oracle.
        judge_labels: file of labelled texts for the judge.
        judge_url: endpoint of the judge `lm`.
    """

    autoencoder: str
    contrasts: str = "mood"
    prompts: str | None = None
    judge: str | None = None
    judge_labels: str | None = None
    judge_url: str | None = None
