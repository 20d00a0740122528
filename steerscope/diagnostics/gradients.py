"""First-order effect of steering at every layer at once, from one backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.diagnostics.table import LayerValue
from steerscope.directions import Direction
from steerscope.extraction.gradients import displaced
from steerscope.models.lens_model import LensModel
from steerscope.sites import Site
from steerscope.statistics import bootstrap_mean
from steerscope.steering.interventions import check_direction
from steerscope.steering.scopes import Scope
from steerscope.texts.batches import equal_length_batches


def preference_gradients(
    model: LensModel,
    pairs: Sequence[tuple[str, str]],
    sites: Sequence[Site],
    *,
    scope: Scope | None = None,
    written: bool = False,
    batch_size: int = 32,
) -> dict[Site, Float[Tensor, "pair d"]]:
    """Gradient of each pair's preference with respect to a vector added at a site, at no dose.

    d [log P(positive) - log P(negative)] / dv, v added to the activation at every position in
    scope, in nats per activation unit. The inner product with a unit vector is the first-order
    effect of that direction.

    Args:
        model: the model.
        pairs: positive and negative text.
        sites: where the vector would be added; all are answered by the same pass.
        scope: at which positions; default all but 0.
        written: whether for a scope what a pair begins with alike is the prompt, and the rest is
            generated; by default all of a text counts as prompt.
        batch_size: texts in one pass.

    Raises:
        UnsupportedSiteError: the model lacks a site.
    """
    scope = scope or Scope.all()
    ids = [model.tokens(text) for pair in pairs for text in pair]
    lengths = [len(tokens) for tokens in ids]
    if written:
        lengths = [max(1, len(commonprefix(ids[i & ~1 : (i & ~1) + 2]))) for i in range(len(ids))]
    found = {s: torch.zeros(len(ids), model.width(s)) for s in sites}
    for batch in equal_length_batches(ids, batch_size, model.device):
        ends = batch.tokens.new_tensor([lengths[i] for i in batch.indices])[:, None]
        gradients = _batch_gradients(model, batch.tokens, sites, (scope, ends))
        for site, gradient in zip(sites, gradients, strict=True):
            found[site][list(batch.indices)] = gradient.float().cpu()
    return {s: g[0::2] - g[1::2] for s, g in found.items()}


def _batch_gradients(
    model: LensModel,
    tokens: Int[Tensor, "batch pos"],
    sites: Sequence[Site],
    where: tuple[Scope, Int[Tensor, "batch 1"]],
) -> tuple[Tensor, ...]:
    """Gradient of every row's log-likelihood for a vector of its own at every site.

    Where is at the positions of a scope, of prompts that end there.
    """
    scope, ends = where
    n_rows, n_tokens = tokens.shape
    positions = torch.arange(n_tokens, device=tokens.device)
    inside = scope.given(tokens).includes(positions[None], ends).reshape(-1, n_tokens)
    with torch.enable_grad(), displaced(model, sites, inside, n_rows) as moved:
        logp = torch.log_softmax(model.forward(tokens)[:, :-1].float(), dim=-1)
        total = logp.gather(-1, tokens[:, 1:, None]).sum()
        return torch.autograd.grad(total, list(moved.values()))


def gradient_screening(
    model: LensModel,
    pairs: Sequence[tuple[str, str]],
    directions: Sequence[Direction],
    *,
    scope: Scope | None = None,
    batch_size: int = 32,
    seed: int = 0,
) -> list[LayerValue]:
    """d preference / d dose at dose 0, in nats per relative unit, for one direction per layer.

    The interval resamples pairs. The null is the root mean square over all directions of the same
    length, ||mean gradient|| / sqrt(width).

    Raises:
        VectorMismatchError: a direction is of another model or width.
    """
    for direction in directions:
        check_direction(direction, model)
    sites = [d.site for d in directions]
    gradients = preference_gradients(model, pairs, sites, scope=scope, batch_size=batch_size)
    values = []
    for direction in directions:
        gradient = gradients[direction.site] * direction.scale.relative
        mean = bootstrap_mean((gradient @ direction.unit).double().numpy(), seed=seed)
        values.append(
            LayerValue(
                diagnostic="gradient",
                layer=direction.site.layer,
                value=mean.value,
                low=mean.low,
                high=mean.high,
                unit="nats per relative unit",
                n=mean.n,
                null=float(gradient.mean(dim=0).norm() / gradient.shape[1] ** 0.5),
            )
        )
    return values
