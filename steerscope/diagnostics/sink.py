"""How far a direction points along the attention sink at position 0."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steerscope.diagnostics.table import LayerValue
from steerscope.directions import Direction
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.statistics import bootstrap_mean
from steerscope.texts.batches import equal_length_batches


@torch.no_grad()
def sink_alignment(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    directions: Sequence[Direction],
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> list[LayerValue]:
    """Where position 0 lies, seen from each direction at its own site.

    `sink_cosine` is cos(x₀, u), `sink_length` is ||x₀|| in relative units. Position 0 is a sink
    where it is many times longer than other activations; a mean over texts of unequal length then
    leaks it into the direction, with the sign of the difference in length. Intervals resample
    prompts.
    """
    ids = [model.tokens(p) for p in prompts]
    sites = [d.site for d in directions]
    found = torch.zeros(2, len(sites), len(ids))
    for batch in equal_length_batches(ids, batch_size, model.device):
        read = model.read(batch.tokens, list(dict.fromkeys(sites)))
        for row, direction in enumerate(directions):
            first = read[direction.site][:, 0].float().cpu()
            lengths = first.norm(dim=-1)
            along = first @ direction.unit.float().cpu()
            found[0, row, list(batch.indices)] = along / lengths
            found[1, row, list(batch.indices)] = lengths / direction.scale.relative
    values = []
    for name, unit, rows in zip(
        ("sink_cosine", "sink_length"), ("ratio", "relative"), found, strict=True
    ):
        for site, row in zip(sites, rows, strict=True):
            mean = bootstrap_mean(row.double().numpy(), seed=seed)
            values.append(
                LayerValue(name, site.layer, mean.value, mean.low, mean.high, unit, mean.n)
            )
    return values
