"""Eigenvalues of a Gram matrix, and numbers that say how unequal they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.eigengaps.intervals import LOG_OF_REST, LOGARITHM, PLAIN, Scale


def gram_eigenvalues(
    keys: Float[Tensor, "*batch token d"], *, ridge: float = 0.0
) -> Float[Tensor, "*batch rank"]:
    """Ascending eigenvalues of K Kᵀ / d + ridge I, in squared activation units.

    They are found on the smaller of [token, token] and [d, d], which share all but zeros. Without a
    ridge those zeros are left out, so that there are min(token, d) eigenvalues; with one they count
    as the ridge, and there are as many as tokens. Where a key is not finite they are NaN.

    Args:
        keys: one row per token.
        ridge: added to the diagonal; >= 0.
    """
    n_tokens, d = keys.shape[-2:]
    k = keys.double()
    product = k @ k.mT if n_tokens <= d else k.mT @ k
    known = product.isfinite().all(dim=-1).all(dim=-1)
    finite = product.where(known[..., None, None], 0.0)  # which no eigensolver goes without
    found = with_ridge(torch.linalg.eigvalsh(finite / d), n_tokens, ridge)
    return found.masked_fill(~known[..., None], torch.nan)


def with_ridge(
    eigenvalues: Float[Tensor, "*batch found"], n_tokens: int, ridge: float
) -> Float[Tensor, "*batch rank"]:
    """The largest eigenvalues, at most one per token, with a ridge added to all of them."""
    found = eigenvalues[..., -min(n_tokens, eigenvalues.shape[-1]) :].clamp_min(0)
    if not ridge:
        return found
    zeros = found.new_zeros(*found.shape[:-1], n_tokens - found.shape[-1])
    return torch.cat([zeros, found], dim=-1) + ridge


def absolute_gap(eigenvalues: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """λ₁ - λ₂ of ascending eigenvalues; a single eigenvalue leads by itself."""
    if eigenvalues.shape[-1] == 1:
        return eigenvalues[..., -1]
    return eigenvalues[..., -1] - eigenvalues[..., -2]


def spectral_gap(
    eigenvalues: Float[Tensor, "*batch rank"], guard: float = 0.0
) -> Float[Tensor, "*batch"]:
    """(λ₁ - λ₂) / (λ₁ + guard) of ascending eigenvalues."""
    return absolute_gap(eigenvalues) / (eigenvalues[..., -1] + guard)


def participation_ratio(eigenvalues: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """(Σλ)² / Σλ²: how many directions share the variance."""
    return eigenvalues.sum(-1) ** 2 / (eigenvalues**2).sum(-1)


def spectral_entropy(eigenvalues: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """-Σ p log p with p = λ / Σλ, in nats."""
    p = eigenvalues.clamp_min(0) / eigenvalues.clamp_min(0).sum(-1, keepdim=True)
    return torch.special.entr(p).sum(-1)


def effective_rank(eigenvalues: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """exp(-Σ p log p) with p = λ / Σλ.

    Source: Roy & Vetterli 2007, "The effective rank".
    """
    return spectral_entropy(eigenvalues).exp()


STATISTICS: dict[str, tuple[Callable[..., Tensor], str, Scale]] = {
    "gap": (spectral_gap, "ratio", LOG_OF_REST),
    "absolute_gap": (absolute_gap, "squared activation units", PLAIN),
    "participation_ratio": (participation_ratio, "directions", LOGARITHM),
    "effective_rank": (effective_rank, "directions", LOGARITHM),
    "entropy": (spectral_entropy, "nats", PLAIN),
}
