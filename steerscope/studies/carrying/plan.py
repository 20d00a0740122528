"""What a carrying of a vector from one model to another is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steerscope.errors import BadValueError
from steerscope.studies.planned import OfModel
from steerscope.texts.numbers import check_temperature

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class CarryPlan(OfModel):
    """How a vector is carried and judged.

    Attributes:
        source: model that the vector is found on; it is loaded as the other is.
        contrasts: the concept; the vector is found on its fit split, and stated on its test split.
        prompts: continued by the target; None for those that the contrast set is stated on.
        texts: pairs whose texts both models read to learn the map, split likewise; None for the pairs
            themselves. Their classes teach the map the target's own vector, whatever that of the source is, so that
            what is carried tells nothing; others tell.
        source_layer: block of the model that it is found on; None for the one whose pairs agree most.
        layer: block of the model that it is carried to; None likewise.
        read: which token of a text is mapped onto which.
        ridges: λ of the ridge map, in mean variances of the source; chosen on held-out pairs of the fit.
        n_permuted: maps of texts paired at random within each class.
        kl: nats at which the vectors are compared.
        n_null_seeds: null directions of each kind.
        n_pairs: pairs that match the sign and the layer, at most.
        n_kl_prompts: prompts on which the KL is matched, at most.
        n_test: held-out items, at most.
        n_new: tokens of a continuation.
        temperature: of sampling.

    Raises:
        BadValueError: a count below 1, or a λ or KL that is not above 0.
    """

    source: str
    contrasts: str = "mood"
    prompts: str | None = None
    texts: str | None = None
    source_layer: int | None = None
    layer: int | None = None
    read: str = "mean"
    ridges: tuple[float, ...] = RIDGES
    n_permuted: int = 20
    kl: float = 0.2
    n_null_seeds: int = 4
    n_pairs: int = 16
    n_kl_prompts: int = 12
    n_test: int = 80
    n_new: int = 24
    temperature: float = 0.7

    def __post_init__(self) -> None:
        for name in ("n_permuted", "n_null_seeds", "n_pairs", "n_kl_prompts", "n_test", "n_new"):
            if getattr(self, name) < 1:
                raise BadValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if (
            not 0 < self.kl < math.inf
            or not all(ridge > 0 for ridge in self.ridges)
            or not self.ridges
        ):
            raise BadValueError("the KL and every ridge must be numbers above 0.")
        check_temperature(self.temperature)
