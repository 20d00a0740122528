"""Features in order of importance for something: a domain, a direction, an output, a steering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from steerscope.errors import AutoencoderMismatchError, BadValueError, NoFeaturesError
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.spans import check_count


@dataclass(frozen=True)
class FeatureSet:
    """Some features of a dictionary, the most important first.

    Attributes:
        name: what they are important for, in words.
        ranked: their numbers.
        n_features: size of the dictionary.
        dictionary: name of the autoencoder; the features of another one are other features.

    Raises:
        BadValueError: no feature, one twice, or one outside the dictionary.
    """

    name: str
    ranked: tuple[int, ...]
    n_features: int
    dictionary: str

    def __post_init__(self) -> None:
        check_count(len(self.ranked), self.n_features)
        if len(set(self.ranked)) < len(self.ranked):
            raise BadValueError(f"a feature is in {self.name!r} twice; name each once.")
        outside = [i for i in self.ranked if not 0 <= i < self.n_features]
        if outside:
            raise BadValueError(
                f"feature {outside[0]} of {self.name!r} is outside 0..{self.n_features - 1}."
            )

    def first(self, k: int) -> FeatureSet:
        """The k most important alone.

        Raises:
            BadValueError: there are not so many.
        """
        if not 1 <= k <= len(self.ranked):
            raise BadValueError(
                f"{self.name!r} ranks {len(self.ranked)} features; choose 1 to {len(self.ranked)}."
            )
        return FeatureSet(self.name, self.ranked[:k], self.n_features, self.dictionary)


def largest(
    name: str,
    values: Float[Tensor, " feature"],
    sae: SparseAutoencoder,
    k: int,
    *,
    absolute: bool = False,
) -> FeatureSet:
    """The k features of largest value, or of largest absolute value, as far as they are above zero.

    A value of zero tells nothing: dead features have it by every route, and in one order.

    Args:
        name: what the values tell, in words.
        values: one per feature, such as a way of reading a direction.
        sae: whose features they are.
        k: how many; fewer where no more are above zero.
        absolute: whether a strongly negative value is important too.

    Raises:
        BadValueError: k exceeds the dictionary.
        NoFeaturesError: no value is above zero.
        AutoencoderMismatchError: not one value per feature.
    """
    check_count(k, sae.n_features)
    if len(values) != sae.n_features:
        raise AutoencoderMismatchError(
            f"{name!r} has {len(values)} values; {sae.name} has {sae.n_features} features."
        )
    found = (values.abs() if absolute else values).topk(k)
    order = found.indices[found.values > 0].tolist()
    if not order:
        raise NoFeaturesError(f"{name!r} is above zero for no feature of {sae.name}.")
    return FeatureSet(name, tuple(order), sae.n_features, sae.name)


def domain_sets(
    codes: Mapping[str, Float[Tensor, "_ feature"]], sae: SparseAutoencoder, k: int
) -> dict[str, FeatureSet]:
    """For each domain the features whose mean code exceeds that of the other domains most.

    mean(codes of the domain) - mean over the other domains of their mean codes, so that a domain
    with more texts weighs no more.

    Args:
        codes: for each domain one code per text, such as `mean_codes` gives.
        sae: whose codes they are.
        k: how many features.

    Raises:
        BadValueError: fewer than two domains, or k exceeds the dictionary.
    """
    if len(codes) < 2:
        raise BadValueError("a domain stands out against others; give at least 2.")
    means = {name: rows.mean(dim=0) for name, rows in codes.items()}
    everything = torch.stack(list(means.values())).sum(dim=0)
    return {
        name: largest(name, mean - (everything - mean) / (len(means) - 1), sae, k)
        for name, mean in means.items()
    }


def best_match(
    sae: SparseAutoencoder, other: SparseAutoencoder
) -> tuple[list[int], Float[Tensor, " feature"]]:
    """For every feature its partner in another dictionary of the same site, one to one.

    The pairing has the largest sum of cosines between decoder rows. It lets feature sets of two
    seeds be compared, whose numbers mean nothing to each other.

    Returns:
        The partner's number of each feature, and the cosine of the two.

    Raises:
        AutoencoderMismatchError: another site or width, or fewer features over there.

    Source: Kuhn 1955, by scipy's `linear_sum_assignment`.
    """
    if (sae.site, sae.d) != (other.site, other.d) or other.n_features < sae.n_features:
        raise AutoencoderMismatchError(
            f"{sae.name} ({sae.n_features} features at {sae.site}) has no one-to-one partner in "
            f"{other.name} ({other.n_features} at {other.site})."
        )
    cosines = sae.decoder @ other.decoder.T
    rows, columns = linear_sum_assignment(cosines.cpu().numpy(), maximize=True)
    return columns.tolist(), cosines[torch.from_numpy(rows), torch.from_numpy(columns)]


def translated(
    features: FeatureSet, sae: SparseAutoencoder, other: SparseAutoencoder
) -> FeatureSet:
    """The same set in another dictionary, each feature by its best match.

    Raises:
        AutoencoderMismatchError: the set is of another autoencoder, or the two do not match.
    """
    if features.dictionary != sae.name:
        raise AutoencoderMismatchError(
            f"{features.name!r} has features of {features.dictionary}, not of {sae.name}."
        )
    partner, _ = best_match(sae, other)
    ranked = tuple(partner[i] for i in features.ranked)
    return FeatureSet(features.name, ranked, other.n_features, other.name)
