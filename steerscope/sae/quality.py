"""How good an autoencoder is on text that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.progress import Track, silent
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import check_fits
from steerscope.sae.stream import activations_of, counted, token_ids, token_rows
from steerscope.statistics import Estimate, bootstrap_ratio, wilson
from steerscope.texts.batches import equal_length_batches

_LOGITS_AT_ONCE = 2**25  # numbers


@dataclass(frozen=True)
class SaeQuality:
    """Quality on held-out text, at all positions but the first and beginning-of-sequence tokens.

    Intervals are 95 %, by bootstrap over the rows of the text; that of `dead` is Wilson's over
    features.

    Attributes:
        l0: mean number of features that speak in an activation.
        fvu: fraction of variance unexplained, Σ ||x - x̂||² / Σ ||x - x̄||² over all activations, with
            x̄ their mean on this text.
        recovered: (zero - replaced) / (zero - plain) of the cross-entropies below; 1 if replacing
            does no harm, 0 if it is as bad as deleting. NaN if deleting does no harm.
        plain: nats per token of the model as it is, over the tokens after the counted positions.
        replaced: the same with every counted activation replaced by its reconstruction.
        zeroed: the same with every counted activation set to zero.
        dead: share of features that never speak on this text.
        n_tokens: counted positions.
    """

    l0: Estimate
    fvu: Estimate
    recovered: Estimate
    plain: Estimate
    replaced: Estimate
    zeroed: Estimate
    dead: Estimate
    n_rows: int
    n_tokens: int


@torch.no_grad()
def evaluate_sae(
    model: LensModel,
    sae: SparseAutoencoder,
    texts: Sequence[TextOrIds],
    *,
    seed: int = 0,
    track: Track = silent,
) -> SaeQuality:
    """Sparsity, reconstruction, cross-entropy recovered and dead features on a text.

    Args:
        model: the model it was trained on.
        sae: what is judged.
        texts: documents, as text or token ids, that the training has not seen.
        seed: of the bootstrap.
        track: shows the progress.

    Raises:
        AutoencoderMismatchError: the autoencoder is for another model.
        BadValueError: no text.
    """
    check_fits(sae, model=model)
    sae = sae.to(model.device)
    rows = token_rows(model, texts)
    sums = _Sums(len(rows), sae)
    at_once = max(1, _LOGITS_AT_ONCE // (model.shape.n_vocab * max(map(len, rows))))
    batches = equal_length_batches(rows, min(at_once, 64), model.device)
    for batch in track(batches, "judging"):
        kept = counted(model, batch.tokens)
        activations = torch.zeros(0)

        def keep(x: Tensor) -> None:
            nonlocal activations
            activations = x.clone()

        with model.hook(sae.site, keep):
            plain = _nats(model, batch.tokens, kept)
        rebuilt = sums.add(batch.indices, activations, kept)
        nats = torch.stack(
            [
                plain,
                _nats_with(model, sae, batch.tokens, kept, rebuilt),
                _nats_with(model, sae, batch.tokens, kept, torch.zeros_like(rebuilt)),
                kept[:, :-1].sum(dim=-1).double(),
            ]
        )
        sums.nats[:, list(batch.indices)] = nats.cpu().numpy()
    return sums.quality(seed)


def mean_codes(
    model: LensModel, sae: SparseAutoencoder, texts: Sequence[TextOrIds]
) -> Float[Tensor, "row feature"]:
    """Mean code of each text over its positions but the first; texts must fit into the context.

    Raises:
        BadValueError: no text, or one without a token that is counted.
    """
    rows = token_ids(model, texts)
    found = torch.zeros(len(rows), sae.n_features)
    for indices, x, kept in activations_of(model, sae.site, rows):
        codes = sae.encode(x) * kept[..., None]
        found[list(indices)] = (codes.sum(dim=1) / kept.sum(dim=1, keepdim=True)).cpu()
    return found


class _Sums:
    """Sums over the counted positions of each row, in double precision."""

    def __init__(self, n_rows: int, sae: SparseAutoencoder) -> None:
        self._sae = sae
        self._tokens, self._active, self._error, self._squares = np.zeros((4, n_rows))
        self._total = np.zeros((n_rows, sae.d))
        self._spoke = torch.zeros(sae.n_features, dtype=torch.bool, device=sae.decoder.device)
        self.nats = np.zeros((4, n_rows))  # plain, replaced, zeroed, number of predicted tokens

    def add(
        self,
        indices: Sequence[int],
        x: Float[Tensor, "row pos d"],
        kept: Bool[Tensor, "row pos"],
    ) -> Float[Tensor, "row pos d"]:
        """Enter the activations of rows; returns their reconstructions."""
        x = x.float()
        code = self._sae.encode(x)
        rebuilt = self._sae.decode(code, like=x)
        speaks = (code > 0) & kept[..., None]
        self._spoke |= speaks.flatten(0, 1).any(dim=0)
        weight = kept.double()
        at = list(indices)
        self._tokens[at] = _numbers(weight.sum(dim=1))
        self._active[at] = _numbers(speaks.sum(dim=(1, 2)))
        error = (x.double() - rebuilt.double()).square().sum(dim=-1)
        self._error[at] = _numbers((error * weight).sum(dim=1))
        self._squares[at] = _numbers((x.double().square().sum(dim=-1) * weight).sum(dim=1))
        self._total[at] = _numbers((x.double() * weight[..., None]).sum(dim=1))
        return rebuilt

    def quality(self, seed: int) -> SaeQuality:
        """The report, from all rows."""
        mean = self._total.sum(axis=0) / self._tokens.sum()
        deviation = self._squares - 2 * self._total @ mean + self._tokens * (mean @ mean)
        plain, replaced, zeroed, predicted = self.nats

        def ratio(above: np.ndarray, below: np.ndarray) -> Estimate:
            return bootstrap_ratio(above, below, seed=seed)

        n_dead = int((~self._spoke).sum())
        return SaeQuality(
            l0=ratio(self._active, self._tokens),
            fvu=ratio(self._error, deviation),
            recovered=ratio(zeroed - replaced, zeroed - plain),
            plain=ratio(plain, predicted),
            replaced=ratio(replaced, predicted),
            zeroed=ratio(zeroed, predicted),
            dead=wilson(n_dead, len(self._spoke)),
            n_rows=len(self._tokens),
            n_tokens=int(self._tokens.sum()),
        )


def _numbers(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def _nats(
    model: LensModel, tokens: Int[Tensor, "row pos"], kept: Bool[Tensor, "row pos"]
) -> Float[Tensor, " row"]:
    """-log p of the tokens that follow the counted positions, summed per row."""
    logp = torch.log_softmax(model.forward(tokens)[:, :-1].float(), dim=-1)
    nats = -logp.gather(-1, tokens[:, 1:, None])[..., 0].double()
    return (nats * kept[:, :-1]).sum(dim=-1)


def _nats_with(
    model: LensModel,
    sae: SparseAutoencoder,
    tokens: Int[Tensor, "row pos"],
    kept: Bool[Tensor, "row pos"],
    values: Float[Tensor, "row pos d"],
) -> Float[Tensor, " row"]:
    """The same with other activations at the counted positions."""

    def replace(x: Tensor) -> Tensor:
        return torch.where(kept[..., None], values.to(x.dtype), x)

    with model.hook(sae.site, replace):
        return _nats(model, tokens, kept)
