"""Builders for the tests of autoencoders: a planted dictionary, random weights in sae-lens."""

from __future__ import annotations

from typing import Any

import torch
from sae_lens import SAE
from torch import Tensor

from steerscope.sae import SparseAutoencoder
from steerscope.sites import Site

SITE = Site("resid_post", 1)


def planted(
    n_features: int = 48, d: int = 32, n: int = 20_000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Unit features and activations made of few of them; neighbours 2i, 2i+1 share a cause.

    A cause is there with probability 0.1 and then lets each of its two features speak with
    probability 0.5, at strengths from 0.5 to 1.5.
    """
    g = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(n_features, d, generator=g), dim=-1)
    causes = torch.rand(n, n_features // 2, 1, generator=g) < 0.1
    speaks = (causes & (torch.rand(n, n_features // 2, 2, generator=g) < 0.5)).flatten(1)
    return features, (speaks * (0.5 + torch.rand(n, n_features, generator=g))) @ features


def random_inner(architecture: str, **config: Any) -> SAE[Any]:
    """An autoencoder of sae-lens with random weights, decoder rows of any length."""
    g = torch.Generator().manual_seed(3)
    inner = SAE.from_dict(
        {
            "architecture": architecture,
            "d_in": 8,
            "d_sae": 24,
            "metadata": {"hook_name": SITE.hook_name},
            **config,
        }
    )
    for parameter in inner.parameters():
        parameter.data = torch.randn(parameter.shape, generator=g)
    inner.W_dec.data *= torch.rand(24, 1, generator=g) * 3
    if hasattr(inner, "threshold"):
        inner.threshold.data = inner.threshold.data.abs()
    return inner


def identity_dictionary(d: int, site: Site = SITE) -> SparseAutoencoder:
    """A dictionary of ±1 unit vectors, whose reconstruction is exact."""
    rows = torch.cat([torch.eye(d), -torch.eye(d)])
    return SparseAutoencoder(
        site=site,
        encoder=rows.T.contiguous(),
        decoder=rows,
        architecture="standard",
        name="identity",
        encoder_bias=torch.zeros(2 * d),
        decoder_bias=torch.zeros(d),
        centre=torch.zeros(d),
    )
