"""How much of the answer a layer already has: logit lens against the model's own output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from steerscope.diagnostics.table import LayerValue
from steerscope.errors import BadValueError
from steerscope.metrics import kl_divergence
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.sites import Site
from steerscope.statistics import bootstrap_mean
from steerscope.texts.batches import equal_length_batches


@torch.no_grad()
def lens_agreement(
    model: LensModel, prompts: Sequence[TextOrIds], *, batch_size: int = 32, seed: int = 0
) -> list[LayerValue]:
    """Logit lens of every block's output against the final output, over all positions but 0.

    `lens_agreement` is the share of positions with the same first token, `lens_kl` the mean
    KL(lens || final) in nats. The interval resamples prompts.

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
        final = model.unembed(read[sites[-1]][:, 1:])
        for row, site in enumerate(sites):
            lens = model.unembed(read[site][:, 1:])
            same = (lens.argmax(dim=-1) == final.argmax(dim=-1)).float().mean(dim=1)
            kl = kl_divergence(lens, final).mean(dim=1)
            for which, values in enumerate((same, kl)):
                found[which, row, list(batch.indices)] = values.cpu().numpy()
    result = []
    for (name, unit), rows in zip(
        (("lens_agreement", "share"), ("lens_kl", "nats")), found, strict=True
    ):
        for site, row in zip(sites, rows, strict=True):
            mean = bootstrap_mean(row, seed=seed)
            result.append(
                LayerValue(name, site.layer, mean.value, mean.low, mean.high, unit, mean.n)
            )
    return result
