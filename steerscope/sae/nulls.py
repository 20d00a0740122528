"""What an analysis with an autoencoder finds where there is nothing to find."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import BadValueError
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.statistics import CONFIDENCE


@dataclass(frozen=True)
class Chance:
    """A number beside those that a null gives.

    Attributes:
        value: what was found.
        expected: mean of the null.
        low: lower end of the band that holds 95 % of the null.
        high: upper end.
        p: chance of a number as far out on either side; at least 2 / (n + 1).
        n: draws of the null.
    """

    value: float
    expected: float
    low: float
    high: float
    p: float
    n: int


def against(value: float, draws: Float[np.ndarray, " draw"]) -> Chance:
    """A number against draws of a null, two-sided.

    p = 2 min(1 + #{draw >= value}, 1 + #{draw <= value}) / (n + 1), at most 1.

    Raises:
        BadValueError: no draw.
    """
    n = len(draws)
    if not n:
        raise BadValueError("a null needs at least one draw.")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    near = 1e-7 * max(1.0, abs(value))  # ties up to rounding count as ties
    smaller = min((draws >= value - near).sum(), (draws <= value + near).sum())
    p = min(1.0, 2 * (1 + int(smaller)) / (n + 1))
    return Chance(value, float(draws.mean()), float(low), float(high), p, n)


def untrained(sae: SparseAutoencoder, *, seed: int) -> SparseAutoencoder:
    """An autoencoder of the same shape that has learnt nothing.

    Decoder rows are drawn evenly from the sphere, the encoder is the decoder's transpose, biases are
    zero, and whatever had a threshold has none. A `topk` keeps its k, so that it is as sparse as the
    trained one; the others speak for half of the features.

    Source: sae-lens starts from tied weights too, with uniform entries and shorter rows; here the rows
    have norm 1 as a `SparseAutoencoder` wants them.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(sae.n_features, sae.d, generator=generator).to(sae.decoder)
    rows = rows / rows.norm(dim=-1, keepdim=True)
    return replace(
        sae,
        decoder=rows,
        encoder=rows.T.contiguous(),
        encoder_bias=torch.zeros_like(sae.encoder_bias),
        decoder_bias=torch.zeros_like(sae.decoder_bias),
        centre=torch.zeros_like(sae.centre),
        threshold=None if sae.threshold is None else torch.zeros_like(sae.threshold),
        ranking=None,
        name=f"{sae.name}, untrained #{seed}",
    )


def permuted_decoder(sae: SparseAutoencoder, *, seed: int) -> SparseAutoencoder:
    """The same encoder with the decoder rows dealt to other features."""
    order = dealt_order(sae.n_features, seed=seed)
    return replace(
        sae,
        decoder=sae.decoder[order.to(sae.decoder.device)],
        name=f"{sae.name}, permuted decoder #{seed}",
    )


def dealt_order(n_features: int, *, seed: int) -> Int[Tensor, " feature"]:
    """For each feature the one whose decoder row it gets."""
    return torch.randperm(n_features, generator=torch.Generator().manual_seed(seed))


def random_vector(norm: float, d: int, *, seed: int) -> Float[Tensor, " d"]:
    """A vector of this norm, its direction drawn evenly from the sphere."""
    drawn = torch.randn(d, generator=torch.Generator().manual_seed(seed))
    return norm * drawn / drawn.norm()


def swapped_signs(n_pairs: int, *, seed: int) -> Float[Tensor, " pair"]:
    """+1 or -1 for each pair, in equal numbers (one more +1 if the number is odd).

    Raises:
        BadValueError: fewer than two pairs.
    """
    if n_pairs < 2:
        raise BadValueError("classes can be shuffled among at least 2 pairs.")
    signs = torch.ones(n_pairs)
    chosen = torch.randperm(n_pairs, generator=torch.Generator().manual_seed(seed))
    signs[chosen[: n_pairs // 2]] = -1
    return signs
