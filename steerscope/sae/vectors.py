"""Directions made of decoder rows: one feature, several alike, or several by weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions import Direction
from steerscope.directions.direction import make_direction
from steerscope.errors import AutoencoderMismatchError, BadValueError
from steerscope.extraction.activations import Contrast, Moments
from steerscope.models.fingerprints import same_weights
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.spans import check_count


def weighted(
    sae: SparseAutoencoder,
    weights: Float[Tensor, " feature"],
    contrast: Contrast | Moments,
    *,
    k: int,
    method: str = "sae_weighted",
) -> Direction:
    """The decoder rows of the k features of largest |weight|, summed with their weights.

    unit ∝ Σ aⱼ wⱼ. The natural length is the distance between the class means, as for every direction
    of this contrast, so a dose means the same push.

    Args:
        sae: whose features they are.
        weights: one per feature, positive where the feature speaks for the positive class, such as
            the difference of mean codes or an output score.
        contrast: gives the lengths of a dose.
        k: how many features.
        method: name of the direction.

    Raises:
        BadValueError: k exceeds the dictionary.
        AutoencoderMismatchError: contrast and autoencoder are of different sites, or not one weight
            per feature.
        DegenerateDirectionError: the weights are zero, or the classes do not differ.
    """
    chosen = _strongest(sae, weights, k)
    return _summed(sae, {i: float(weights[i]) for i in chosen}, contrast, f"{method}_{k}")


def uniform(
    sae: SparseAutoencoder,
    weights: Float[Tensor, " feature"],
    contrast: Contrast | Moments,
    *,
    k: int,
    method: str = "sae_uniform",
) -> Direction:
    """As `weighted`, every chosen feature with the sign of its weight alone: unit ∝ Σ sign(aⱼ) wⱼ.

    Raises:
        BadValueError: k exceeds the dictionary.
        AutoencoderMismatchError: contrast and autoencoder are of different sites, or not one weight
            per feature.
        DegenerateDirectionError: the weights are zero, or the classes do not differ.
    """
    chosen = _strongest(sae, weights, k)
    return _summed(sae, {i: float(weights[i].sign()) for i in chosen}, contrast, f"{method}_{k}")


def single(
    sae: SparseAutoencoder, feature: int, contrast: Contrast | Moments, *, sign: int = 1
) -> Direction:
    """The decoder row of one feature, or its negative.

    Raises:
        BadValueError: no such feature, or a sign that is neither 1 nor -1.
        AutoencoderMismatchError: contrast and autoencoder are of different sites.
    """
    check_features(sae, [feature])
    if sign not in {1, -1}:
        raise BadValueError(f"the sign is {sign}; it must be 1 or -1.")
    return _summed(sae, {feature: float(sign)}, contrast, f"sae_feature_{feature}")


def random_features(
    sae: SparseAutoencoder,
    weights: Float[Tensor, " feature"],
    contrast: Contrast | Moments,
    *,
    k: int,
    alive: Float[Tensor, " feature"],
    seed: int,
) -> Direction:
    """As `weighted`, its weights on k features drawn among those that fire: what any features do.

    Args:
        sae: whose features they are.
        weights: of which the k of largest absolute value are dealt.
        contrast: gives the lengths of a dose.
        k: how many.
        alive: firing rates; a feature with none is not drawn.
        seed: of the draw.

    Raises:
        BadValueError: fewer than k features fire.
        AutoencoderMismatchError: contrast and autoencoder are of different sites.
    """
    chosen = _strongest(sae, weights, k)
    living = torch.nonzero(alive > 0).flatten()
    check_count(k, len(living))
    drawn = living[torch.randperm(len(living), generator=torch.Generator().manual_seed(seed))[:k]]
    dealt = dict(zip(drawn.tolist(), weights[chosen].tolist(), strict=True))
    return _summed(sae, dealt, contrast, f"sae_random_{k}", seed=seed)


def check_features(sae: SparseAutoencoder, features: list[int]) -> None:
    """Refuse features that the dictionary does not have.

    Raises:
        BadValueError: a number outside it.
    """
    for feature in features:
        if not 0 <= feature < sae.n_features:
            raise BadValueError(
                f"feature {feature}: {sae.name} has features 0 to {sae.n_features - 1}."
            )


def _strongest(sae: SparseAutoencoder, weights: Float[Tensor, " feature"], k: int) -> list[int]:
    check_count(k, sae.n_features)
    if len(weights) != sae.n_features:
        raise AutoencoderMismatchError(
            f"{len(weights)} weights for the {sae.n_features} features of {sae.name}."
        )
    return weights.abs().topk(k).indices.tolist()


def _summed(
    sae: SparseAutoencoder,
    weights: Mapping[int, float],
    contrast: Contrast | Moments,
    method: str,
    *,
    seed: int | None = None,
) -> Direction:
    if contrast.site != sae.site:
        raise AutoencoderMismatchError(
            f"the pairs were read at {contrast.site}; {sae.name} is for {sae.site}."
        )
    theirs = sae.model_fingerprint
    if theirs is not None and not same_weights(theirs, contrast.provenance.fingerprint):
        raise AutoencoderMismatchError(
            f"{sae.name} was trained on another model ({theirs[:12]}) than the pairs were read on "
            f"({contrast.provenance.fingerprint[:12]})."
        )
    rows = sae.decoder[list(weights)].cpu().float()
    return make_direction(contrast, torch.tensor(list(weights.values())) @ rows, method, seed=seed)
