"""Codes of texts: what an autoencoder's features say at every token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.batches import Batch, equal_length_batches
from steerscope.errors import BadValueError
from steerscope.interventions import Cell
from steerscope.memory import fit, pass_bytes
from steerscope.model import LensModel, TextOrIds
from steerscope.progress import Track, silent
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import check_fits

_TEXTS_AT_ONCE = 32
_ITEM = 4  # bytes of a float32


@torch.no_grad()
def codes_by_batch(
    model: LensModel,
    sae: SparseAutoencoder,
    texts: Sequence[TextOrIds],
    *,
    cell: Cell | None = None,
    progress: Track = silent,
) -> Iterator[tuple[Batch, Float[Tensor, "batch pos feature"]]]:
    """Texts of one length with the codes of all their tokens but the first, a few at a time.

    Args:
        model: the model.
        sae: at any of its sites.
        texts: texts or token ids.
        cell: condition under which they run; default plain.
        progress: shows the loop.

    Raises:
        BadValueError: a text without a token but position 0, or no text.
        AutoencoderMismatchError: the autoencoder is for another model.
        MemoryBudgetError: not one text fits.
    """
    check_fits(sae, model=model)
    ids = [model.tokens(text) for text in texts]
    if not ids or min(map(len, ids)) < 2:
        raise BadValueError("codes are read at tokens after position 0; give texts that have some.")
    longest = max(map(len, ids))
    row = longest * (pass_bytes(model) + 2 * sae.n_features * _ITEM)
    work = f"codes of a text of {longest} tokens"
    rows = fit(model, work, shared=0, row=row, at_most=_TEXTS_AT_ONCE).rows
    batches = equal_length_batches(ids, rows, model.device)
    with ExitStack() as stack:
        for intervention in cell.interventions if cell else ():
            stack.enter_context(intervention.attach(model))
        for batch in progress(batches, "reading codes"):
            x = model.read(batch.tokens, [sae.site])[sae.site]
            yield batch, sae.encode(x[:, 1:].float().to(sae.decoder.device))


def mean_codes(
    model: LensModel,
    sae: SparseAutoencoder,
    texts: Sequence[TextOrIds],
    *,
    cell: Cell | None = None,
    progress: Track = silent,
) -> Float[Tensor, "sample feature"]:
    """Mean code of each text over its tokens, position 0 left out.

    Raises:
        BadValueError: a text without a token but position 0, or no text.
        AutoencoderMismatchError: the autoencoder is for another model.
    """
    found = torch.empty(len(texts), sae.n_features)
    for batch, codes in codes_by_batch(model, sae, texts, cell=cell, progress=progress):
        found[list(batch.indices)] = codes.mean(dim=1).cpu()
    return found


def firing_rates(
    model: LensModel,
    sae: SparseAutoencoder,
    texts: Sequence[TextOrIds],
    *,
    progress: Track = silent,
) -> Float[Tensor, " feature"]:
    """Share of the tokens of some texts at which each feature speaks, position 0 left out.

    Raises:
        BadValueError: a text without a token but position 0, or no text.
        AutoencoderMismatchError: the autoencoder is for another model.
    """
    count, n_tokens = torch.zeros(sae.n_features, dtype=torch.long), 0
    for _, codes in codes_by_batch(model, sae, texts, progress=progress):
        count += (codes > 0).sum(dim=(0, 1)).cpu()
        n_tokens += codes.shape[0] * codes.shape[1]
    return count / n_tokens


def steering_change(
    model: LensModel,
    sae: SparseAutoencoder,
    texts: Sequence[TextOrIds],
    cell: Cell,
    *,
    progress: Track = silent,
) -> Float[Tensor, " feature"]:
    """Mean code under a condition minus the plain mean code, over texts.

    Raises:
        BadValueError: a text without a token but position 0, or no text.
        AutoencoderMismatchError: the autoencoder is for another model.
    """
    steered = mean_codes(model, sae, texts, cell=cell, progress=progress)
    return (steered - mean_codes(model, sae, texts, progress=progress)).mean(dim=0)
