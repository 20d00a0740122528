"""Logit lens: what a residual stream, or a direction in it, says about the next token."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions import Direction
from steerscope.errors import UnsupportedSiteError
from steerscope.metrics import kl_divergence
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.sites import Site
from steerscope.steering.interventions import check_direction

RESIDUAL_STREAMS = frozenset({"resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"})


@dataclass(frozen=True)
class TokenEffect:
    """A token, and how much a direction speaks for it: logits relative to the mean token."""

    token: str
    logit: float


@torch.no_grad()
def logit_lens(model: LensModel, prompt: TextOrIds) -> Float[Tensor, "layer pos vocab"]:
    """Logits of every block's output after the final norm: what the model would say there.

    Args:
        model: the model, plain or under `steer`.
        prompt: a text or token ids.

    Returns:
        Logits before any softmax, for the token after each position.

    Raises:
        BadValueError: the prompt has no tokens.
        PromptTooLongError: it is longer than the context.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    tokens = torch.tensor([model.tokens(prompt)], device=model.device)
    sites = [Site("resid_post", layer) for layer in range(model.shape.n_layers)]
    found = model.read(tokens, sites)
    return torch.stack([model.unembed(found[site][0]) for site in sites])


@torch.no_grad()
def direction_lens(model: LensModel, direction: Direction) -> Float[Tensor, " vocab"]:
    """What one natural unit of a direction says about the next token, in logits.

    W_U (gain * unit) * natural * sqrt(d) / relative: the direct path to the output of one natural
    unit added to a residual stream of typical length, to first order, the mean over the vocabulary
    removed. Later blocks may turn it into something else.

    Args:
        model: the model.
        direction: in, or added to, the residual stream.

    Returns:
        One logit for each token, positive for those that the direction speaks for.

    Raises:
        UnsupportedSiteError: the direction does not live in the residual stream.
        VectorMismatchError: it belongs to another model.
    """
    if direction.site.stream not in RESIDUAL_STREAMS:
        raise UnsupportedSiteError(
            f"the logit lens reads the residual stream, not {direction.site}; use one of "
            f"{', '.join(sorted(RESIDUAL_STREAMS))}."
        )
    check_direction(direction, model)
    scale = direction.scale
    typical = scale.relative * direction.unit.to(model.device, model.dtype)
    # The odd part of the final norm and unembedding is linear in the direction and free of biases.
    both = model.unembed(torch.stack([typical, -typical]), capped=False).float()
    logits = (both[0] - both[1]) / 2 * (scale.natural / scale.relative)
    return (logits - logits.mean()).cpu()


def top_tokens(
    model: LensModel, logits: Float[Tensor, " vocab"], count: int
) -> tuple[list[TokenEffect], list[TokenEffect]]:
    """The tokens that a vector of logits speaks for most, and those it speaks against most."""

    def effects(values: Tensor, tokens: Tensor) -> list[TokenEffect]:
        return [
            TokenEffect(model.token_label(int(t)), float(v))
            for v, t in zip(values, tokens, strict=True)
        ]

    highest, lowest = logits.topk(count), (-logits).topk(count)
    return effects(highest.values, highest.indices), effects(-lowest.values, lowest.indices)


@torch.no_grad()
def lens_table(model: LensModel, prompt: TextOrIds) -> pd.DataFrame:
    """The logit lens as a table: what every layer would say after every token of a prompt.

    Args:
        model: the model, plain or under `steer`.
        prompt: a text or token ids.

    Returns:
        layer, position, token (read there), top_token, probability (of it), kl_nats:
        KL(final || layer), how far the layer is from what the model says in the end.

    Raises:
        BadValueError: the prompt is empty, or is none.
        ModelLoadError: the model has no logit lens, as its examination found.
    """
    ids = model.tokens(prompt)
    logits = logit_lens(model, prompt).float()
    shares = logits.softmax(dim=-1)
    best = shares.max(dim=-1)
    kl = kl_divergence(logits[-1].expand_as(logits).contiguous(), logits)
    return pd.DataFrame(
        [
            {
                "layer": layer,
                "position": position,
                "token": model.token_label(token),
                "top_token": model.token_label(int(best.indices[layer, position])),
                "probability": float(best.values[layer, position]),
                "kl_nats": float(kl[layer, position]),
            }
            for layer in range(len(logits))
            for position, token in enumerate(ids)
        ]
    )
