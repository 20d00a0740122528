"""What a sparse autoencoder is: a dictionary of directions at a site, and the codes in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from steerscope.errors import AutoencoderFileError, BadValueError, NotFiniteError
from steerscope.models.weight_hashes import sampled
from steerscope.sites import Site

Normalisation = Literal["none", "layer_norm", "constant_norm"]

_UNIT_TOLERANCE = 1e-3
_LAYER_NORM_EPS = 1e-5  # as sae-lens


@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """A sparse autoencoder at a site, every feature's decoder row of norm 1.

    pre = norm(x - centre) · encoder + encoder_bias;  f = non-linearity(pre);
    x̂ = unnorm(f · decoder + decoder_bias)

    Attributes:
        encoder: one column per feature.
        decoder: one row per feature, of L2 norm 1, so that a code is a length in the units in which
            the autoencoder works: those of the site, unless it normalises every activation.
        architecture: how it was trained: `standard`, `topk`, `jumprelu`, or `batchtopk`, which
            has a threshold like `jumprelu`.
        name: what the user called it.
        model_fingerprint: of the model it was trained on; None where a released one does not say.
        centre: subtracted after normalisation; the decoder's bias or zeros.
        k: largest number of features at a time, for `topk`.
        threshold: pre-activation above which a feature speaks, for `jumprelu` and `batchtopk`.
        ranking: `topk` compares pre-activations times this; None for 1.
        normalisation: of each activation by itself; a factor common to all is in the weights.
        model_name: what its maker calls the model, if known.

    Raises:
        AutoencoderFileError: a decoder row whose norm is not 1, or a threshold that is missing.
        NotFiniteError: a weight is not finite.

    Source: Bricken et al. 2023, Towards Monosemanticity; Cunningham et al. 2023 (arXiv:2309.08600).
    """

    site: Site
    encoder: Float[Tensor, "d feature"]
    decoder: Float[Tensor, "feature d"]
    architecture: str
    name: str
    encoder_bias: Float[Tensor, " feature"]
    decoder_bias: Float[Tensor, " d"]
    centre: Float[Tensor, " d"]
    model_fingerprint: str | None = None
    k: int | None = None
    threshold: Float[Tensor, " feature"] | None = None
    ranking: Float[Tensor, " feature"] | None = None
    normalisation: Normalisation = "none"
    model_name: str | None = None

    def __post_init__(self) -> None:
        if not all(torch.isfinite(t).all() for t in vars(self).values() if torch.is_tensor(t)):
            raise NotFiniteError(f"a weight of the autoencoder {self.name} is not finite.")
        if (self.decoder.norm(dim=-1) - 1).abs().max() > _UNIT_TOLERANCE:
            raise AutoencoderFileError(
                f"the decoder of {self.name} has a row whose norm is not 1; fold the norms into the "
                "encoder."
            )
        if self.architecture == "topk":
            check_k(self.k, self.n_features)
        elif self.architecture != "standard" and self.threshold is None:
            raise AutoencoderFileError(f"the {self.architecture} autoencoder has no threshold.")

    @property
    def n_features(self) -> int:
        """Size of the dictionary."""
        return self.decoder.shape[0]

    @property
    def digest(self) -> str:
        """Hash of its numbers, taken as that of a model's weights."""
        tensors = {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}
        return sampled(self.architecture, tensors)

    @property
    def d(self) -> int:
        """Width of the site."""
        return self.decoder.shape[1]

    def pre_activations(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch feature"]:
        """What each feature hears, before the non-linearity."""
        mean, length = self._normaliser(x)
        inside = (x.to(self.encoder.dtype) - mean) / length - self.centre
        return inside @ self.encoder + self.encoder_bias

    def encode(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch feature"]:
        """The code of each activation: how strongly each feature speaks, never below 0."""
        return self.speak(self.pre_activations(x))

    def speak(self, pre: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """The non-linearity: pre-activations to codes."""
        if self.architecture == "topk":
            ranked = pre if self.ranking is None else pre * self.ranking
            chosen = ranked.topk(self.k or 0, dim=-1, sorted=False).indices
            return torch.zeros_like(pre).scatter(-1, chosen, pre.gather(-1, chosen).relu())
        if self.threshold is not None:
            return pre.relu() * (pre > self.threshold)
        return pre.relu()

    def decode(
        self, f: Float[Tensor, "*batch feature"], *, like: Float[Tensor, "*batch d"] | None = None
    ) -> Float[Tensor, "*batch d"]:
        """The activation that a code stands for.

        Args:
            f: codes.
            like: the activations that were encoded, whose mean and length come back in. Only an
                autoencoder that normalises each activation by itself needs them.

        Raises:
            BadValueError: `like` is needed and missing.
        """
        inside = einsum(f, self.decoder, "... feature, feature d -> ... d") + self.decoder_bias
        if self.normalisation == "none":
            return inside
        if like is None:
            raise BadValueError(
                f"{self.name} normalises each activation ({self.normalisation}); give decode the "
                "activations that were encoded as `like`."
            )
        mean, length = self._normaliser(like)
        # sae-lens divides by the deviation plus a small number and multiplies by the deviation
        back = length - _LAYER_NORM_EPS if self.normalisation == "layer_norm" else length
        return inside * back + mean

    def reconstruct(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Encoded and decoded again."""
        return self.decode(self.encode(x), like=x)

    def to(self, device: torch.device | str) -> SparseAutoencoder:
        """The same on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if torch.is_tensor(value)
        }
        return replace(self, **moved)

    def _normaliser(self, x: Float[Tensor, "*batch d"]) -> tuple[Tensor | float, Tensor | float]:
        """What is subtracted from each activation and what it is then divided by."""
        x = x.to(self.encoder.dtype)
        if self.normalisation == "layer_norm":
            return x.mean(dim=-1, keepdim=True), x.std(dim=-1, keepdim=True) + _LAYER_NORM_EPS
        if self.normalisation == "constant_norm":
            return 0.0, x.norm(dim=-1, keepdim=True) / self.d**0.5
        return 0.0, 1.0


def check_k(k: float | int | None, n_features: int) -> None:
    """Refuse a number of active features that the dictionary cannot give.

    Raises:
        BadValueError: it is not between 1 and the number of features.
    """
    if k is None or not 1 <= k <= n_features:
        raise BadValueError(
            f"k = {k} active features from a dictionary of {n_features}; choose 1 to {n_features}."
        )
