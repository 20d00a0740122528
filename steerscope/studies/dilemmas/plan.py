"""What a transfer to dilemmas is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steerscope.errors import BadValueError, check_name
from steerscope.studies.dilemmas.data import lowered
from steerscope.studies.planned import OfModel

TECHNIQUES = (
    "mean_diff", "pca_uncentred", "random", "prompting", "svd_adapter", "lora", "fine_tuning",
)  # fmt: skip
STEERED = ("mean_diff", "pca_uncentred", "random")
COEFFICIENTS = (-2.0, -1.0, 1.0, 2.0)


@dataclass(frozen=True, kw_only=True)
class DilemmaPlan(OfModel):
    """What is measured.

    Attributes:
        contrasts: pairs that every technique learns from.
        dilemmas: file of the dilemmas, with the values of each action.
        value: whose effect is asked for, such as `honesty`; in lower case, as the values of the dilemmas are read.
        answers: the words for doing and for not doing what is asked about.
        begin: how an answer begins, up to the word that is read; what makes a model go on with one of the
            two words.
        techniques: names in `TECHNIQUES`; the first is compared with the others.
        coefficients: measured for every technique; both signs of each.
        kl: nats per position of the questions at which techniques are compared, matched on the first 24 of them.
        layers: among which directions choose theirs; None for all.
        n_dilemmas: at most, those that tell about the value first; None for all.
        n_pairs: pairs that are trained on, at most.
        epochs: of what is trained.

    Raises:
        UnknownNameError: no such technique.
        BadValueError: a technique twice, a coefficient without its negative, no beginning of an answer, or a number
            below 1.
    """

    contrasts: str
    dilemmas: str
    value: str = "honesty"
    answers: tuple[str, str] = ("Yes", "No")
    begin: str = "Answer:"
    techniques: tuple[str, ...] = TECHNIQUES
    coefficients: tuple[float, ...] = COEFFICIENTS
    kl: float = 0.1
    layers: tuple[int, ...] | None = None
    n_dilemmas: int | None = None
    n_pairs: int = 72
    epochs: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", lowered(self.value))
        for name in self.techniques:
            check_name("technique", name, TECHNIQUES)
        if not self.techniques or len(set(self.techniques)) < len(self.techniques):
            raise BadValueError("name at least one technique, each once.")
        if not self.begin.strip():
            raise BadValueError("begin is empty; say how an answer begins, such as 'Answer:'.")
        given = set(self.coefficients)
        if (
            not given
            or given != {-c for c in given}
            or 0 in given
            or not all(map(math.isfinite, given))
        ):
            raise BadValueError("coefficients come with both signs and without 0.")
        if not 0 < self.kl < math.inf:
            raise BadValueError(f"kl is {self.kl}; it must be positive.")
        for name in ("n_pairs", "epochs", "n_dilemmas"):
            if (n := getattr(self, name)) is not None and n < 1:
                raise BadValueError(f"{name} is {n}; it must be at least 1.")
