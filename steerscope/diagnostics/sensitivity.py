"""How much a small dose changes what the model says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steerscope.diagnostics.table import LayerValue
from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.engine.score import kl_from_plain
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.progress import Track, silent
from steerscope.statistics import Estimate, bootstrap_mean
from steerscope.steering.interventions import Cell, Steering


def kl_sensitivity(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    directions: Sequence[Direction],
    controls: Sequence[Direction],
    *,
    dose: float = 0.1,
    seed: int = 0,
    progress: Track = silent,
) -> list[LayerValue]:
    """KL(steered || plain) of a small relative dose over that dose, mean of both signs.

    The KL of a small dose grows with its square, so that values compare at one dose only.

    Args:
        model: the model.
        prompts: texts or token ids.
        directions: one per layer.
        controls: random directions at the same layers, any number per layer; the null.
        dose: in relative units.
        seed: of the resamples of the prompts.
        progress: shows the loop.
    """
    everything = [*directions, *controls]
    cells = [
        Cell((Steering(d, Dose(sign * dose, "relative")),)) for d in everything for sign in (1, -1)
    ]
    kl = kl_from_plain(model, prompts, cells, progress=progress).double().numpy() / dose
    both = kl.reshape(len(everything), 2, -1).mean(axis=1)
    means = {id(d): bootstrap_mean(row, seed=seed) for d, row in zip(everything, both, strict=True)}
    return [
        _value(d, means[id(d)], [means[id(c)].value for c in controls if c.site == d.site], dose)
        for d in directions
    ]


def _value(direction: Direction, mean: Estimate, null: Sequence[float], dose: float) -> LayerValue:
    return LayerValue(
        diagnostic="kl_sensitivity",
        layer=direction.site.layer,
        value=mean.value,
        low=mean.low,
        high=mean.high,
        unit=f"nats per relative unit, at {dose:g}",
        n=mean.n,
        null=float(np.mean(null)) if null else float("nan"),
    )
