"""Codes of texts: how often features speak, and what a steering makes them say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import check_fits
from steerscope.sae.quality import mean_codes
from steerscope.sae.stream import activations_of, token_ids
from steerscope.steering.interventions import Cell, steer


@torch.no_grad()
def firing_rates(
    model: LensModel, sae: SparseAutoencoder, texts: Sequence[TextOrIds]
) -> Float[Tensor, " feature"]:
    """Share of the tokens of some texts at which each feature speaks, position 0 left out.

    Raises:
        BadValueError: no text, or one without a token that is counted.
        AutoencoderMismatchError: the autoencoder is for another model.
    """
    check_fits(sae, model=model)
    count, n_tokens = torch.zeros(sae.n_features, dtype=torch.long), 0
    for _, x, kept in activations_of(model, sae.site, token_ids(model, texts)):
        count += (sae.encode(x[kept]) > 0).sum(dim=0).cpu()
        n_tokens += int(kept.sum())
    return count / n_tokens


def steering_change(
    model: LensModel, sae: SparseAutoencoder, texts: Sequence[str], cell: Cell
) -> Float[Tensor, " feature"]:
    """Mean code under a condition minus the plain mean code, over texts.

    Raises:
        BadValueError: no text, or one without a token that is counted.
        AutoencoderMismatchError: the autoencoder is for another model.
    """
    check_fits(sae, model=model)
    plain = mean_codes(model, sae, texts)
    with steer(model, *cell.interventions):
        return (mean_codes(model, sae, texts) - plain).mean(dim=0)
