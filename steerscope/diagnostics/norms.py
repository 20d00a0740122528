"""How long the residual stream is at each layer, with and without the attention sink."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from steerscope.diagnostics.table import LayerValue
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.sites import Site
from steerscope.statistics import bootstrap_mean
from steerscope.texts.batches import equal_length_batches


@torch.no_grad()
def residual_norms(
    model: LensModel, prompts: Sequence[TextOrIds], *, batch_size: int = 64, seed: int = 0
) -> list[LayerValue]:
    """Mean L2 norm of every block's output, in activation units.

    `residual_norm` leaves position 0 out, `residual_norm_with_first` counts it; where the two differ
    much, position 0 is an attention sink. The interval resamples prompts.

    Raises:
        BadValueError: a prompt has no token but position 0.
    """
    ids = [model.tokens(p) for p in prompts]
    if min(map(len, ids)) < 2:
        raise BadValueError("a prompt has no token but position 0; use longer prompts.")
    sites = [Site("resid_post", layer) for layer in range(model.shape.n_layers)]
    found = np.zeros((2, len(sites), len(ids)))
    for batch in equal_length_batches(ids, batch_size, model.device):
        read = model.read(batch.tokens, sites)
        for row, site in enumerate(sites):
            norms = read[site].float().norm(dim=-1).cpu()
            for which, first in enumerate((1, 0)):
                found[which, row, list(batch.indices)] = norms[:, first:].mean(dim=1).numpy()
    values = []
    for name, norms in zip(("residual_norm", "residual_norm_with_first"), found, strict=True):
        for site, row in zip(sites, norms, strict=True):
            mean = bootstrap_mean(row, seed=seed)
            values.append(
                LayerValue(
                    name, site.layer, mean.value, mean.low, mean.high, "activation units", mean.n
                )
            )
    return values
