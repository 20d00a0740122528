"""What each token of a text tells: how far its choice was from plain, and what the plain model reads in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from steerscope.directions import Direction
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.steering.interventions import Cell, check_direction, steer
from steerscope.steering.prompting import is_prompting, on_activations, seen_under


@dataclass(frozen=True, eq=False)
class TokenReadings:
    """One number for each written token.

    Attributes:
        kl: KL(steered || plain) of the distributions that the token was drawn from, in nats.
        nll: nats of the token under the plain model.
        projection: of the plain model's activation at the token on a direction, in natural units; NaN
            where no direction is given.
    """

    kl: Float[np.ndarray, " token"]
    nll: Float[np.ndarray, " token"]
    projection: Float[np.ndarray, " token"]


@torch.no_grad()
def token_readings(
    model: LensModel,
    prompt: TextOrIds,
    written: Sequence[int],
    cell: Cell = Cell(),  # noqa: B008 - cells are frozen
    direction: Direction | None = None,
) -> TokenReadings:
    """Readings of what a condition wrote after a prompt, teacher-forced.

    Plain is after the prompt itself, without what a prompting says.

    Args:
        model: the model.
        prompt: text or token ids.
        written: tokens behind it.
        cell: the condition that wrote them.
        direction: in the residual stream or elsewhere, on which is projected.

    Raises:
        BadValueError: nothing is written.
        PromptTooLongError: it does not fit into the context.
        VectorMismatchError: a direction is of another model.
    """
    if not written:
        raise BadValueError("nothing is written, so that no token can be read.")
    n = len(written)
    ids = model.tokens([*model.tokens(prompt), *written])
    seen = model.tokens(seen_under(cell, prompt)) if is_prompting(cell) else ids[:-n]
    steered_ids = model.tokens([*seen, *written])
    plain, where = _tokens(model, ids), []
    if direction is not None:
        check_direction(direction, model)
        where = [model.read(plain, [direction.site])[direction.site][0, -n:]]
    log_q = torch.log_softmax(model.forward(plain, last=n + 1)[0, :-1].float(), dim=-1)
    with model.clock.hold(len(seen)), steer(model, *on_activations(cell).interventions):
        logits = model.forward(_tokens(model, steered_ids), last=n + 1)[0, :-1].float()
    log_p = torch.log_softmax(logits, dim=-1)
    kl = (log_p.exp() * (log_p - log_q)).nan_to_num(0.0).sum(dim=-1)
    kl[~torch.isfinite(logits).all(dim=-1)] = torch.nan
    nll = -log_q.gather(-1, _tokens(model, list(written)).T)[:, 0]
    projection = torch.full((n,), torch.nan)
    if direction is not None:
        unit = direction.unit.to(where[0].device, torch.float32)
        projection = where[0].float() @ unit / direction.scale.natural
    return TokenReadings(*(x.double().cpu().numpy() for x in (kl, nll, projection)))


def _tokens(model: LensModel, ids: Sequence[int]) -> torch.Tensor:
    return torch.tensor([list(ids)], dtype=torch.long, device=model.device)
