"""Gradients of a preference loss with respect to the activations of contrast pairs.

A loss couples the two texts of a pair, which seldom have one length. It sees of each text only two
things, its likelihood and one activation, so the chain rule splits it exactly: a first pass over all
texts gives these, the loss tells what each is worth, and a second pass over batches of equal length
carries that back to every site at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steerscope.errors import BadValueError
from steerscope.extraction.activations import Contrast, Gradients
from steerscope.extraction.losses import (
    BoundedSeparation,
    PreferenceLoss,
    find_loss,
    mean_log_likelihood,
)
from steerscope.extraction.reading import ReadToken
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.sites import Site
from steerscope.texts.batches import Batch, equal_length_batches
from steerscope.texts.contrasts import ContrastSet

_TEXTS_AT_ONCE = 32  # each keeps the activations of every block until its backward pass


def add_gradients(
    model: LensModel,
    contrasts: ContrastSet,
    found: dict[Site, Contrast],
    *,
    loss: PreferenceLoss | str = "margin",
    read: ReadToken | None = None,
    target: int | None = None,
    batch_size: int | None = None,
    progress: Track = silent,
) -> dict[Site, Contrast]:
    """The contrasts with the gradient of the loss of each pair at each of their sites, in float32.

    gᵢ = ∂Lᵢ/∂δ at δ = 0, where δ is a vector added to the text's activation at the site, at the
    token that is read, or with `mean` at every content token alike: then g is the sum of the
    gradients at those tokens, and predicts what steering with scope `all` does. Lᵢ reads the mean
    log-probability per token of both texts and their activations at the output of the target block,
    taken by the same `read`. The gradient at one text holds the other as it is.

    Args:
        model: the model; its weights take no gradient.
        contrasts: the pairs that `found` was extracted from.
        found: the contrasts by site; the texts begin as they did for these.
        loss: a name of `losses.LOSSES`, or a loss.
        read: which token is moved; default all content tokens. The last token alone cannot change
            the likelihood of its text.
        target: block at whose output a loss of activations reads them; default the last.
        batch_size: texts in one pass; default 32.
        progress: shows the loop.

    Raises:
        UnknownNameError: no such loss.
        BadValueError: the contrasts are of other pairs, or their texts began in several ways; the
            loss does not depend on a site at that token; a target for a loss that reads no
            activation; or a bound without gradient.
        UnsupportedSiteError: the model lacks a site.
    """
    name = str(loss)
    loss, read = find_loss(loss), read or ReadToken.mean()
    _check(contrasts, found, loss, target)
    texts = _texts(model, contrasts, _beginning(found))
    batches = equal_length_batches(texts, batch_size or _TEXTS_AT_ONCE, model.device)
    passes = _Passes(model, tuple(found), read, target)

    likelihood = torch.zeros(len(texts), device=model.device)
    state = torch.zeros(len(texts), model.shape.d_model, device=model.device)
    with torch.no_grad():
        for batch in progress(batches, "judging pairs"):
            rows = list(batch.indices)
            _, likelihood[rows], state[rows] = passes.run(batch.tokens)
    worth = _worth(loss, likelihood, state)

    gradient = {site: torch.zeros(len(texts), model.width(site)) for site in found}
    output_norm = torch.zeros(len(texts))
    for batch in progress(batches, "taking gradients"):
        rows = list(batch.indices)
        at_sites, output_norm[rows] = passes.gradients(batch, *worth)
        for site, part in at_sites.items():
            gradient[site][rows] = part
    for site, g in gradient.items():
        if not bool(g.any()):
            raise BadValueError(
                f"the loss {name} does not depend on {site} at {read}: the gradient is exactly "
                "zero; read an earlier token or the mean."
            )
    about = (output_norm.reshape(-1, 2), name, loss.moves, str(read))
    return {
        site: replace(found[site], gradients=Gradients(g[0::2], g[1::2], *about))
        for site, g in gradient.items()
    }


def _check(
    contrasts: ContrastSet, found: dict[Site, Contrast], loss: PreferenceLoss, target: int | None
) -> None:
    if target is not None and loss.moves != "apart":
        raise BadValueError(
            f"{loss} reads likelihoods alone, so that a target block changes nothing; leave it out, or "
            "take a loss of activations such as separation."
        )
    if not found:
        raise BadValueError("gradients are taken at the sites of contrasts; extract some first.")
    for site, contrast in found.items():
        if contrast.provenance.contrasts_sha256 != contrasts.sha256:
            raise BadValueError(
                f"the contrast at {site} is of {contrast.provenance.contrasts!r}, not of "
                f"{contrasts.name!r}; give the pairs that it was extracted from."
            )
    if isinstance(loss, BoundedSeparation) and loss.margin >= 0:
        raise BadValueError(
            f"a bound with margin {loss.margin} >= 0 has no gradient at the plain model, so that "
            "the result would be that of 'separation' under another name; use 'separation'."
        )


def _texts(model: LensModel, contrasts: ContrastSet, bos: str | None) -> list[list[int]]:
    """Tokens of both texts of each pair, one after the other."""
    return [model.tokens(t, bos=bos) for p in contrasts.pairs for t in (p.positive, p.negative)]


def _beginning(found: dict[Site, Contrast]) -> str | None:
    """How the texts began when the contrasts were extracted; None where nobody has said."""
    ways = {contrast.provenance.bos: site for site, contrast in found.items()}
    if len(ways) > 1:
        said = ", ".join(f"{way or 'unknown'!r} at {site}" for way, site in ways.items())
        raise BadValueError(
            f"the texts of the contrasts began in several ways (bos {said}); extract all with one."
        )
    return next(iter(ways)) or None


@torch.enable_grad()
def _worth(
    loss: PreferenceLoss, likelihood: Float[Tensor, " row"], state: Float[Tensor, "row d"]
) -> tuple[Float[Tensor, " row"], Float[Tensor, "row d"]]:
    """Derivatives of the sum of all losses by each text's likelihood and activation."""
    inputs = (likelihood.requires_grad_(), state.requires_grad_())
    total = loss(likelihood.reshape(-1, 2), state.reshape(-1, 2, state.shape[1])).sum()
    by_likelihood, by_state = torch.autograd.grad(
        total, inputs, allow_unused=True, materialize_grads=True
    )
    return by_likelihood, by_state


@contextmanager
def displaced(
    model: LensModel, sites: Sequence[Site], inside: Bool[Tensor, "#batch pos"], n_rows: int
) -> Iterator[dict[Site, Float[Tensor, "batch _"]]]:
    """While active, every row is moved at each site by a vector of its own, which is zero.

    What a gradient with respect to these vectors says is what moving the row would do, to first
    order.

    Args:
        model: the model; its passes must be made under `torch.enable_grad`.
        sites: where rows are moved.
        inside: at which positions.
        n_rows: of the batch.
    """
    moved = {
        site: torch.zeros(n_rows, model.width(site), device=model.device, requires_grad=True)
        for site in sites
    }
    with ExitStack() as stack:
        for site, vector in moved.items():

            def displace(x: Tensor, vector: Tensor = vector) -> Tensor:
                # Spread before the cast, so that positions are summed in float32.
                return x + (inside[..., None] * vector[:, None]).to(x.dtype)

            stack.enter_context(model.hook(site, displace))
        yield moved


class _Passes:
    """Forward passes that can be differentiated by a displacement at each site."""

    def __init__(
        self, model: LensModel, sites: tuple[Site, ...], read: ReadToken, target: int | None
    ) -> None:
        self.model, self.sites, self.read = model, sites, read
        last = model.shape.n_layers - 1
        self.target = Site("resid_post", last if target is None else target)
        model.check(self.target)

    def run(
        self, tokens: Int[Tensor, "batch pos"]
    ) -> tuple[Float[Tensor, "batch pos vocab"], Float[Tensor, " batch"], Float[Tensor, "batch d"]]:
        """Logits, mean log-likelihoods and last activations of texts of one length."""
        seen: list[Tensor] = []
        with self.model.hook(self.target, lambda x: seen.append(self.read(x.float()))):
            # Not LensModel.forward, whose attention writes its keys and values in place.
            logits = self.model.transformer(tokens)
        return logits, mean_log_likelihood(logits, tokens), seen[0]

    @torch.enable_grad()
    def gradients(
        self,
        batch: Batch,
        by_likelihood: Float[Tensor, " row"],
        by_state: Float[Tensor, "row d"],
    ) -> tuple[dict[Site, Float[Tensor, "batch _"]], Float[Tensor, " batch"]]:
        """Gradient of the loss at each site, and its norm at what the loss reads, by text."""
        n_rows, n_tokens = batch.tokens.shape
        # The read is linear: what it makes of unit vectors says which positions it looks at.
        inside = self.read(torch.eye(n_tokens, device=self.model.device)[None]) != 0
        with displaced(self.model, self.sites, inside, n_rows) as moved:
            logits, likelihood, state = self.run(batch.tokens)
        rows = list(batch.indices)
        total = (by_likelihood[rows] * likelihood).sum() + (by_state[rows] * state).sum()
        found = torch.autograd.grad(
            total, [*moved.values(), logits, state], allow_unused=True, materialize_grads=True
        )
        at_logits, at_state = (g.float().flatten(1).norm(dim=1) for g in found[-2:])
        at_sites = {site: g.cpu() for site, g in zip(moved, found, strict=False)}
        return at_sites, torch.hypot(at_logits, at_state).cpu()
