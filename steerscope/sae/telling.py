"""Which feature tells a label: chosen on one half of the texts, judged on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from steerscope.errors import BadValueError
from steerscope.statistics import Estimate, auroc, auroc_estimate


@dataclass(frozen=True)
class TellingFeature:
    """A feature whose activation tells a label.

    Attributes:
        feature: its number.
        chosen: AUROC on the half that it was chosen on, where it is the highest of all.
        auroc: on the other half, with a 95 % bootstrap interval over texts.
    """

    feature: int
    chosen: float
    auroc: Estimate


def telling_feature(
    codes: Float[np.ndarray, "row feature"], label: Bool[np.ndarray, " row"], *, seed: int = 0
) -> TellingFeature:
    """The feature that speaks most reliably more where the label holds.

    Args:
        codes: strength of each feature in each text.
        label: where the label holds.
        seed: of the halves and of the bootstrap.

    Raises:
        BadValueError: a half without texts that have the label, or without others.
    """
    order = np.random.default_rng(seed).permutation(len(label))
    half, other = order[: len(order) // 2], order[len(order) // 2 :]
    for part in (half, other):
        if not 0 < label[part].sum() < len(part):
            raise BadValueError(
                f"{int(label.sum())} of {len(label)} texts have the label; each half needs some that "
                "have it and some that have not."
            )
    found = auroc(codes[half], label[half])
    best = int(found.argmax())
    judged = auroc_estimate(codes[other, best], label[other], seed=seed)
    return TellingFeature(best, float(found[best]), judged)
