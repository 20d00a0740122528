"""Small autoencoders with known features for tests."""

from __future__ import annotations

import torch

from steerscope.models.lens_model import LensModel
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sites import Site


def small_sae(
    *,
    d: int = 16,
    n_features: int = 40,
    site: Site | None = None,
    model: LensModel | None = None,
    seed: int = 0,
    bias: float = 0.0,
    rows: torch.Tensor | None = None,
    k: int | None = None,
) -> SparseAutoencoder:
    """Random unit rows, or those given, with the transpose as the encoder; `topk` if there is a k."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(n_features, d, generator=generator) if rows is None else rows
    drawn = drawn / drawn.norm(dim=1, keepdim=True)
    n_features, d = drawn.shape
    return SparseAutoencoder(
        site=site or Site("resid_post", 1),
        encoder=drawn.T.clone(),
        decoder=drawn,
        architecture="standard" if k is None else "topk",
        name=f"small #{seed}",
        encoder_bias=torch.full((n_features,), bias),
        decoder_bias=0.3 * torch.randn(d, generator=generator),
        centre=torch.zeros(d),
        model_fingerprint=None if model is None else model.fingerprint,
        k=k,
    )
