"""What a direction is in an autoencoder's features, in four ways that are not the same.

People say that a vector "activates" features and mean one of these:

* `mean_codes`: encode both classes, and take the difference of their mean codes.
* `decoder_cosine`: cosine of the vector with every decoder row.
* `encoder_projection`: what every encoder column hears of the vector, without any bias. An encoder
  is made for activations, not for differences of them, so half of the features "speak" for a vector
  that means nothing.
* `norm_share`: how much of the vector's squared norm few features carry between them.

Each number stands beside what it is for a random direction, for shuffled labels, in an untrained
autoencoder and in one whose decoder rows are dealt to other features.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.directions import Direction, mean_diff
from steerscope.errors import AutoencoderMismatchError, BadValueError
from steerscope.extraction.activations import Contrast
from steerscope.models.fingerprints import same_weights
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.nulls import (
    Chance,
    against,
    dealt_order,
    random_vector,
    swapped_signs,
    untrained,
)
from steerscope.sae.spans import carried, check_count, participation_ratio, pursued, top_share
from steerscope.statistics import CONFIDENCE

WAYS = ("mean_codes", "decoder_cosine", "encoder_projection", "norm_share")
NULLS = ("random_direction", "label_shuffled", "untrained", "permuted_decoder")
# What a permuted decoder can change; everything else looks at the encoder or the decoder alone.
_JOINS = {"read_back", "codes_share"}


@dataclass(frozen=True)
class Statistic:
    """One number of a reading against one null.

    Attributes:
        way: one of `WAYS`.
        name: what was counted.
        null: one of `NULLS`.
        chance: the number, with the band of the null and p.
    """

    way: str
    name: str
    null: str
    chance: Chance


@dataclass(frozen=True, eq=False)
class Reading:
    """A direction read through an autoencoder.

    Attributes:
        direction: what was read.
        sae: its name.
        k: how many features count as few.
        values: for every way but `norm_share`, one number per feature.
        statistics: each number against each null that speaks to it.
        curve: share of the vector's squared norm by number of features, `n`: columns `null` (empty
            for the vector itself), order (`pursuit` or `codes`), share, low, high.
    """

    direction: Direction
    sae: str
    k: int
    values: dict[str, Float[Tensor, " feature"]]
    statistics: tuple[Statistic, ...]
    curve: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """The statistics, one row each."""
        return pd.DataFrame(
            [
                {"way": s.way, "statistic": s.name, "null": s.null, **asdict(s.chance)}
                for s in self.statistics
            ]
        )

    def strongest(self, way: str, count: int) -> list[tuple[int, float]]:
        """The features of largest absolute value, with their values."""
        values = self.values[way]
        check_count(count, len(values))
        return [(int(i), float(values[i])) for i in values.abs().topk(count).indices]


def mean_code_difference(sae: SparseAutoencoder, contrast: Contrast) -> Float[Tensor, " feature"]:
    """Mean code of the positive minus mean code of the negative class."""
    return code_differences(sae, contrast).mean(dim=0)


def code_differences(sae: SparseAutoencoder, contrast: Contrast) -> Float[Tensor, "pair feature"]:
    """Code of the positive minus code of the negative text, pair by pair."""
    return sae.encode(contrast.positive) - sae.encode(contrast.negative)


def decoder_cosine(
    sae: SparseAutoencoder, vector: Float[Tensor, "*batch d"]
) -> Float[Tensor, "*batch feature"]:
    """Cosine of a vector with every decoder row."""
    return (vector / vector.norm(dim=-1, keepdim=True)) @ sae.decoder.T


def encoder_projection(
    sae: SparseAutoencoder, vector: Float[Tensor, "*batch d"]
) -> Float[Tensor, "*batch feature"]:
    """How much a vector changes every pre-activation, to a factor if activations are normalised."""
    return vector @ sae.encoder


def read_direction(
    sae: SparseAutoencoder,
    contrast: Contrast,
    *,
    direction: Direction | None = None,
    k: int = 10,
    n_null: int = 199,
    seed: int = 0,
) -> Reading:
    """A direction in the four ways, against the four nulls.

    Statistics: `top_share`, the share of the squared values in the k largest; `participation_ratio`,
    the number of features that would share them evenly; `active_share`, the share of positive ones;
    `largest`, the largest absolute value; `read_back`, the cosine of the vector with the decoder rows
    summed with the values as weights. For `norm_share`: `pursuit_share`, what the k features carry
    that carry most, `codes_share`, what those k carry whose codes differ most between the classes,
    and the participation ratio of what each feature of the pursuit adds.

    The random direction has the vector's norm and is added to the negative texts for `mean_codes`;
    shuffled labels give the mean difference of pairs of which half are swapped, whatever method
    found the direction.

    Args:
        sae: at the contrast's site.
        contrast: activations of pairs.
        direction: what to read; default the difference of the class means.
        k: how many features count as few.
        n_null: draws of each null.
        seed: of the nulls.

    Raises:
        AutoencoderMismatchError: direction or contrast are of another site, width or model.
        BadValueError: k exceeds the dictionary, or there is no draw.
        DegenerateDirectionError: the classes do not differ.
    """
    direction = direction or mean_diff(contrast)
    check_reads(sae, direction)
    if contrast.site != sae.site:
        raise AutoencoderMismatchError(
            f"the pairs were read at {contrast.site}; {sae.name} reads {sae.site}."
        )
    check_count(k, sae.n_features)
    if n_null < 1:
        raise BadValueError(f"n_null is {n_null}; a null needs at least 1 draw.")
    differences = code_differences(sae, contrast)
    unit, codes = direction.unit[None].to(sae.decoder), differences.mean(dim=0)[None]
    found = _Drawn(sae.decoder, unit, codes, encoder_projection(sae, unit))
    observed = found.statistics(k)
    draws = _Draws(sae, contrast, differences, unit, range(seed * n_null, (seed + 1) * n_null))
    statistics, curve = [], _shares("", observed)
    for null in NULLS:
        drawn = draws.of(null, k)
        curve += _shares(null, drawn)
        for (way, name), values in drawn.numbers.items():
            value = float(observed.numbers[way, name][0])
            statistics.append(Statistic(way, name, null, against(value, values.double().numpy())))
    return Reading(direction, sae.name, k, found.values(), tuple(statistics), pd.DataFrame(curve))


def check_reads(sae: SparseAutoencoder, direction: Direction) -> None:
    """Refuse an autoencoder of another site, width or model than a direction.

    Raises:
        AutoencoderMismatchError: they do not belong together.
    """
    if direction.site != sae.site or len(direction.unit) != sae.d:
        raise AutoencoderMismatchError(
            f"{direction.label} has {len(direction.unit)} components; {sae.name} reads {sae.d} at "
            f"{sae.site}. Choose a direction and an autoencoder of one site."
        )
    theirs = sae.model_fingerprint
    if theirs is not None and not same_weights(theirs, direction.provenance.fingerprint):
        raise AutoencoderMismatchError(
            f"{direction.label} was found on {direction.provenance.model} "
            f"({direction.provenance.fingerprint[:12]}), {sae.name} was trained on another model "
            f"({theirs[:12]})."
        )


@dataclass(frozen=True, eq=False)
class _Counted:
    """Statistics of each draw, and the share of its vector by number of features in each order."""

    numbers: dict[tuple[str, str], Float[Tensor, " draw"]]
    shares: dict[str, Float[Tensor, "draw rank"]]

    def without_single_sided(self) -> _Counted:
        """Only what looks at the encoder and the decoder together."""
        numbers = {key: v for key, v in self.numbers.items() if key[1] in _JOINS}
        return _Counted(numbers, {"codes": self.shares["codes"]})


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Vectors, with the difference of mean codes and what the encoder hears that belong to each."""

    decoder: Float[Tensor, "feature d"]
    vectors: Float[Tensor, "draw d"]
    codes: Float[Tensor, "draw feature"]
    projection: Float[Tensor, "draw feature"]

    def values(self) -> dict[str, Float[Tensor, " feature"]]:
        """Of the first draw: one number per feature for each way."""
        cosine = self.vectors[0] @ self.decoder.T / self.vectors[0].norm()
        found = (self.codes[0], cosine, self.projection[0])
        return dict(zip(WAYS[:3], found, strict=True))

    def statistics(self, k: int) -> _Counted:
        """Every statistic of every draw."""
        cosine = self.vectors @ self.decoder.T / self.vectors.norm(dim=1, keepdim=True)
        numbers: dict[tuple[str, str], Tensor] = {}
        for way, values in zip(WAYS, (self.codes, cosine, self.projection), strict=False):
            numbers[way, "top_share"] = top_share(values, k)
            numbers[way, "participation_ratio"] = participation_ratio(values)
        numbers["decoder_cosine", "largest"] = cosine.abs().amax(dim=1)
        numbers["encoder_projection", "active_share"] = (self.projection > 0).float().mean(dim=1)
        numbers["mean_codes", "read_back"] = self._read_back(self.codes)
        numbers["encoder_projection", "read_back"] = self._read_back(self.projection)
        pursuit = pursued(self.decoder, self.vectors, k).share
        first = self.codes.abs().topk(k, dim=1).indices
        codes = carried(self.decoder, self.vectors, first).share
        added = pursuit.diff(dim=1, prepend=torch.zeros(len(pursuit), 1)).clamp_min(0).sqrt()
        numbers["norm_share", "pursuit_share"] = pursuit[:, -1]
        numbers["norm_share", "codes_share"] = codes[:, -1]
        numbers["norm_share", "participation_ratio"] = participation_ratio(added)
        return _Counted(numbers, {"pursuit": pursuit, "codes": codes})

    def _read_back(self, values: Float[Tensor, "draw feature"]) -> Float[Tensor, " draw"]:
        """Cosine of each vector with the decoder rows summed with the values as weights; 0 for none."""
        decoded = values @ self.decoder
        lengths = decoded.norm(dim=1) * self.vectors.norm(dim=1)
        return (decoded * self.vectors).sum(dim=1) / lengths.clamp_min(torch.finfo().tiny)


@dataclass(frozen=True, eq=False)
class _Draws:
    """The nulls of a reading."""

    sae: SparseAutoencoder
    contrast: Contrast
    differences: Float[Tensor, "pair feature"]
    unit: Float[Tensor, "1 d"]
    seeds: range

    def of(self, null: str, k: int) -> _Counted:
        """Statistics of a null's draws."""
        if null == "untrained":
            return self._untrained(k)
        if null == "permuted_decoder":
            return self._permuted().statistics(k).without_single_sided()
        drawn = self._random() if null == "random_direction" else self._shuffled()
        return drawn.statistics(k)

    def _random(self) -> _Drawn:
        """A random push of the negative texts, as long as the classes are apart."""
        length = float(self.contrast.mean_difference.norm())
        vectors = torch.stack([random_vector(1.0, self.sae.d, seed=s) for s in self.seeds])
        vectors = vectors.to(self.unit)
        negative = self.contrast.negative
        before = self.sae.encode(negative).mean(dim=0)
        after = [self.sae.encode(negative + length * v).mean(dim=0) for v in vectors]
        return self._drawn(vectors, torch.stack(after) - before)

    def _shuffled(self) -> _Drawn:
        """The mean difference of pairs of which half have their classes swapped."""
        n_pairs = len(self.differences)
        signs = torch.stack([swapped_signs(n_pairs, seed=s) for s in self.seeds]).to(self.unit)
        vectors = signs @ self.contrast.differences / n_pairs
        return self._drawn(vectors, signs @ self.differences / n_pairs)

    def _permuted(self) -> _Drawn:
        """Decoder rows dealt to other features: what each feature says is put into another's place."""
        count, n_features = len(self.seeds), self.sae.n_features
        dealt = torch.stack([dealt_order(n_features, seed=s) for s in self.seeds])
        mean, heard = self.differences.mean(dim=0), encoder_projection(self.sae, self.unit)[0]
        codes, projection = (
            torch.zeros(count, n_features).to(v).scatter(1, dealt.to(v.device), v.expand(count, -1))
            for v in (mean, heard)
        )
        return _Drawn(self.sae.decoder, self.unit.expand(count, -1), codes, projection)

    def _untrained(self, k: int) -> _Counted:
        """The same vector in autoencoders that have learnt nothing."""
        found = []
        for seed in self.seeds:
            sae = untrained(self.sae, seed=seed)
            codes = mean_code_difference(sae, self.contrast)[None]
            heard = encoder_projection(sae, self.unit)
            found.append(_Drawn(sae.decoder, self.unit, codes, heard).statistics(k))
        return _Counted(
            {key: torch.cat([f.numbers[key] for f in found]) for key in found[0].numbers},
            {key: torch.cat([f.shares[key] for f in found]) for key in found[0].shares},
        )

    def _drawn(
        self, vectors: Float[Tensor, "draw d"], codes: Float[Tensor, "draw feature"]
    ) -> _Drawn:
        return _Drawn(self.sae.decoder, vectors, codes, encoder_projection(self.sae, vectors))


def _shares(null: str, counted: _Counted) -> list[dict[str, object]]:
    """Mean share by number of features in each order, with the band of the draws."""
    rows: list[dict[str, object]] = []
    for order, shares in counted.shares.items():
        values = shares.double().numpy()
        low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
        for place, share in enumerate(values.mean(axis=0)):
            band = {"low": float(low[place]), "high": float(high[place])}
            rows.append(
                {"null": null, "order": order, "n": place + 1, "share": float(share), **band}
            )
    return rows
