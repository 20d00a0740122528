"""Spectra of the attention keys: how far one direction leads, per head, with interval and null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.batches import equal_length_batches
from steerscope.errors import BadValueError, UnsupportedSiteError
from steerscope.model import LensModel, TextOrIds
from steerscope.progress import Track, silent
from steerscope.sites import Site


@dataclass(frozen=True, eq=False)
class HeadSpectra:
    """Spectral statistics of the keys of every head, one row per layer that has attention.

    Attributes:
        layers: the layer of each row, 0-based.
        gap: (λ₁ - λ₂) / λ₁, between 0 and 1.
        low: lower end of the 95 % interval of the gap, bootstrap over prompts.
        high: upper end of it.
        null_gap: mean gap of keys with the same lengths and random directions.
        participation_ratio: (Σλ)² / Σλ², between 1 and d_head.
        effective_rank: exp of the entropy of λ / Σλ, between 1 and d_head.
        n_prompts: prompts used.
        n_tokens: keys used per head.
    """

    layers: tuple[int, ...]
    gap: Float[Tensor, "layer head"]
    low: Float[Tensor, "layer head"]
    high: Float[Tensor, "layer head"]
    null_gap: Float[Tensor, "layer head"]
    participation_ratio: Float[Tensor, "layer head"]
    effective_rank: Float[Tensor, "layer head"]
    n_prompts: int
    n_tokens: int

    def weakest_link(self) -> tuple[Float[Tensor, " layer"], Int[Tensor, " layer"]]:
        """Smallest gap of each layer, and the head that has it."""
        found = self.gap.min(dim=1)
        return found.values, found.indices


def spectral_gap(eigenvalues: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    """(λ₁ - λ₂) / λ₁ of ascending eigenvalues."""
    return (eigenvalues[..., -1] - eigenvalues[..., -2]) / eigenvalues[..., -1]


def participation_ratio(eigenvalues: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    """(Σλ)² / Σλ²: how many directions share the variance."""
    return eigenvalues.sum(-1) ** 2 / (eigenvalues**2).sum(-1)


def effective_rank(eigenvalues: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    """exp(-Σ p log p) with p = λ / Σλ.

    Source: Roy & Vetterli 2007, "The effective rank".
    """
    p = eigenvalues.clamp_min(0) / eigenvalues.clamp_min(0).sum(-1, keepdim=True)
    return torch.special.entr(p).sum(-1).exp()


@torch.no_grad()
def eigengap(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    *,
    centred: bool = True,
    include_first: bool = False,
    n_bootstrap: int = 200,
    seed: int = 0,
    batch_size: int = 64,
    progress: Track = silent,
) -> HeadSpectra:
    """Eigengap of the keys of every head, before rotation, pooled over the tokens of all prompts.

    λ are the eigenvalues of Σ k kᵀ / d_head (the nonzero ones of the Gram matrix K Kᵀ / d_head).
    Heads that share keys count once.

    Args:
        model: the model.
        prompts: texts or token ids, at least two.
        centred: take the mean key out first.
        include_first: whether position 0, the attention sink, counts as a token.
        n_bootstrap: resamples of the prompts for the interval.
        seed: of the resamples and of the random keys.
        batch_size: prompts in one pass.
        progress: shows the loop.

    Raises:
        BadValueError: fewer than two prompts.
        UnsupportedSiteError: the model has no attention keys.

    Source: the "weakest link" of FF-GardenFn/kernel-ridge-steering, without its small ridge and
    with position 0 left out.
    """
    if len(prompts) < 2:
        raise BadValueError(f"the eigengap needs at least 2 prompts, got {len(prompts)}.")
    moments = _key_moments(model, prompts, 0 if include_first else 1, batch_size, progress)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.ones(1, len(prompts))
    drawn = torch.randint(len(prompts), (n_bootstrap, len(prompts)), generator=generator)
    resampled = torch.stack([torch.bincount(d, minlength=len(prompts)) for d in drawn]).float()
    eigenvalues = moments.eigenvalues(weights, centred)[0]
    gaps = torch.stack([spectral_gap(moments.eigenvalues(w[None], centred)[0]) for w in resampled])
    return HeadSpectra(
        layers=moments.layers,
        gap=spectral_gap(eigenvalues),
        low=gaps.quantile(0.025, dim=0),
        high=gaps.quantile(0.975, dim=0),
        null_gap=_random_key_gap(moments, centred, generator),
        participation_ratio=participation_ratio(eigenvalues),
        effective_rank=effective_rank(eigenvalues),
        n_prompts=len(prompts),
        n_tokens=int(moments.counts.sum()),
    )


@dataclass(frozen=True, eq=False)
class _Moments:
    """Per prompt: number of keys, their sum, their second moment and their lengths."""

    layers: tuple[int, ...]
    counts: Float[Tensor, " prompt"]
    sums: Float[Tensor, "prompt layer head d"]
    squares: Float[Tensor, "prompt layer head d e"]
    lengths: Float[Tensor, "token layer head"]

    def eigenvalues(
        self, weights: Float[Tensor, "sample prompt"], centred: bool
    ) -> Float[Tensor, "sample layer head d"]:
        """Ascending eigenvalues of the pooled second moment over d_head, prompts weighted."""
        second = einsum(
            weights, self.squares, "sample prompt, prompt layer head d e -> sample layer head d e"
        )
        if centred:
            total = einsum(
                weights, self.sums, "sample prompt, prompt layer head d -> sample layer head d"
            )
            count = (weights @ self.counts)[:, None, None, None, None]
            second = second - total[..., :, None] * total[..., None, :] / count
        return torch.linalg.eigvalsh(second.double() / second.shape[-1]).float()


def _key_moments(
    model: LensModel,
    prompts: Sequence[TextOrIds],
    first: int,
    batch_size: int,
    progress: Track,
) -> _Moments:
    sites = [Site("k", layer) for layer in range(model.shape.n_layers)]
    sites = [s for s in sites if model.has(s)]
    if not sites:
        raise UnsupportedSiteError(f"{model.name} has no attention keys to analyse.")
    ids = [model.tokens(p) for p in prompts]
    if min(map(len, ids)) <= first:
        raise BadValueError("a prompt has no token but position 0; use longer prompts.")
    n, d = len(ids), model.shape.d_head
    shape = (n, len(sites), model.shape.n_key_value_heads, d)
    sums, squares = torch.zeros(shape), torch.zeros(*shape, d)
    lengths: list[list[Tensor]] = [[] for _ in sites]
    for batch in progress(equal_length_batches(ids, batch_size, model.device), "reading keys"):
        keys = model.read(batch.tokens, sites)
        rows = list(batch.indices)
        for number, site in enumerate(sites):
            k = rearrange(keys[site][:, first:].float().cpu(), "b p (h d) -> b p h d", d=d)
            sums[rows, number] = k.sum(dim=1)
            squares[rows, number] = einsum(k, k, "b p h d, b p h e -> b h d e")
            lengths[number].append(rearrange(k.norm(dim=-1), "b p h -> (b p) h"))
    counts = torch.tensor([float(len(i) - first) for i in ids])
    stacked = torch.stack([torch.cat(found) for found in lengths], dim=1)
    return _Moments(tuple(s.layer for s in sites), counts, sums, squares, stacked)


def _random_key_gap(
    moments: _Moments, centred: bool, generator: torch.Generator, repeats: int = 20
) -> Float[Tensor, "layer head"]:
    """Mean gap of keys with the same lengths whose directions are drawn from the sphere."""
    n_tokens, n_layers, n_heads = moments.lengths.shape
    d = moments.sums.shape[-1]
    result = torch.zeros(n_layers, n_heads)
    for layer in range(n_layers):
        for _ in range(repeats):
            keys = torch.randn(n_tokens, n_heads, d, generator=generator)
            keys = keys / keys.norm(dim=-1, keepdim=True) * moments.lengths[:, layer, :, None]
            keys = keys - keys.mean(dim=0) if centred else keys
            second = einsum(keys, keys, "token head d, token head e -> head d e")
            result[layer] += spectral_gap(torch.linalg.eigvalsh(second / d)) / repeats
    return result
