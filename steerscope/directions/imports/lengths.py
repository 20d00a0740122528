"""How long activations are at a site of a model: the relative unit of an imported vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel
from steerscope.sites import Site
from steerscope.texts.batches import equal_length_batches

NEUTRAL_PROMPTS = (
    "The house at the end of the road has a small garden with two trees.",
    "In the morning she walked to the market and bought bread and apples.",
    "The meeting starts at nine and ends before lunch.",
    "He put the book on the table and looked out of the window.",
    "Water boils at a lower temperature on a high mountain.",
    "The train from the north arrives on the second platform.",
    "They asked how long the work would take and what it would cost.",
    "A list of the names is on the last page.",
)


@torch.no_grad()
def median_lengths(
    model: LensModel, sites: Sequence[Site], texts: Sequence[str], *, batch_size: int = 32
) -> dict[Site, float]:
    """Median L2 norm of the activations over the content tokens, position 0 excluded.

    Raises:
        BadValueError: no text has more than one token.
        PromptTooLongError: a text does not fit into the context.
    """
    norms: dict[Site, list[torch.Tensor]] = {site: [] for site in sites}
    sequences = [tokens for tokens in map(model.tokens, texts) if len(tokens) > 1]
    if not sequences:
        raise BadValueError("measuring lengths needs a prompt of at least two tokens; give one.")
    for batch in equal_length_batches(sequences, batch_size, model.device):
        for site, activation in model.read(batch.tokens, sites).items():
            norms[site].append(activation[:, 1:].float().norm(dim=-1).flatten().cpu())
    return {site: float(torch.cat(found).median()) for site, found in norms.items()}
