"""What a comparison of techniques is asked to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from steerscope.errors import BadValueError
from steerscope.texts.numbers import check_temperature

COEFFICIENTS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)


@dataclass(frozen=True, kw_only=True)
class TransferPlan:
    """What is measured.

    Attributes:
        coefficients: measured for every technique; both signs of each.
        kl: nats per position that the matched coefficients reach.
        n_prompts: held-out prompts that are continued, at most.
        n_pairs: held-out pairs whose texts are scored, at most.
        n_kl_prompts: prompts of the select split on which the KL is matched, at most.
        n_new: tokens of a continuation.
        temperature: at which they are sampled.
        seed: of splits and sampling.
        about: what else decides the numbers, as the run states it; empty where techniques are given.
        named: the contrast sets and prompts that the texts come from, bundled or files, by what they are for as
            `inputs.NAMED` has it; the run keeps hashes of them.

    Raises:
        BadValueError: a coefficient without its negative, or a number outside its range.
    """

    coefficients: tuple[float, ...] = COEFFICIENTS
    kl: float = 0.1
    n_prompts: int = 60
    n_pairs: int = 60
    n_kl_prompts: int = 120
    n_new: int = 40
    temperature: float = 0.7
    seed: int = 0
    about: Mapping[str, object] = field(default_factory=dict)
    named: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = set(self.coefficients)
        if not all(map(math.isfinite, given)):
            raise BadValueError("a coefficient is not a finite number.")
        if given != {-c for c in given} or 0 in given:
            raise BadValueError("coefficients come with both signs and without 0.")
        for name in ("n_prompts", "n_pairs", "n_kl_prompts", "n_new", "kl"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadValueError(f"{name} is {getattr(self, name)}; it must be positive.")
        check_temperature(self.temperature)
