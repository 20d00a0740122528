"""A gate on the spectrum of the keys that a row has seen so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.eigengaps import spectral_gap
from steerscope.errors import BadValueError
from steerscope.models.lens_model import ModelShape
from steerscope.sites import Site
from steerscope.steering.strengths.strength import Moment, Strength
from steerscope.texts.numbers import read_real, read_whole


@dataclass(frozen=True)
class KeyGapGate(Strength):
    """1 where the eigengap of a row's own keys up to a token is at least the threshold, else 0.

    The gap is (λ₁ - λ₂) / λ₁ of Σ k kᵀ over the tokens from position 1 to this one, the smallest of
    the heads of the layer unless one is named; a row with fewer than two such tokens is not steered.
    Every row and every token decides for itself, so a prompt may open the gate that another shuts.

    Attributes:
        layer: whose keys, as attention compares them: after any rotation.
        threshold: between 0 and 1.
        below: whether the gate is open under the threshold.
        head: key head, 0-based; None for the smallest gap of all.

    Raises:
        BadValueError: the threshold is outside 0..1, or the head below 0.

    Source: as `EigengapGate`, per prompt.
    """

    name: ClassVar[str] = "key_gap"
    layer: int
    threshold: float
    below: bool = False
    head: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise BadValueError(
                f"an eigengap lies between 0 and 1; the threshold is {self.threshold}."
            )
        if self.head is not None and self.head < 0:
            raise BadValueError(f"gate {self}: heads are counted from 0; name one of them.")

    def __str__(self) -> str:
        words = f"{self.name}:{self.layer}:{self.threshold!r}" + (":below" if self.below else "")
        return words if self.head is None else f"{words}.h{self.head}"

    @property
    def key_layers(self) -> tuple[int, ...]:
        """Layers of whose keys this strength reads all so far."""
        return (self.layer,)

    def check(self, site: Site) -> None:
        """Refuse to steer a site that is computed before the keys.

        Raises:
            BadValueError: the keys are not known yet when the steered site is reached.
        """
        among_them = (site.stream, site.layer) == ("k", self.layer)  # not kept before all are made
        if among_them or not Site("k", self.layer).precedes(site):
            raise BadValueError(
                f"gate {self}: the keys of layer {self.layer} are known after the steered {site} in a "
                "pass; read those of an earlier layer, or steer behind them."
            )

    def check_model(self, site: Site, shape: ModelShape) -> None:  # noqa: ARG002 - as every strength
        """Refuse a model that has no such key head.

        Raises:
            BadValueError: it has fewer.
        """
        if self.head is not None and self.head >= shape.n_key_value_heads:
            raise BadValueError(
                f"gate {self}: this model has key heads 0 to {shape.n_key_value_heads - 1}; name one "
                "of them, or none for the smallest gap of all."
            )

    def share(self, moment: Moment) -> Float[Tensor, "row pos"]:
        """The shares."""
        keys = moment.keys(self.layer)
        n_new = moment.step.shape[-1]
        gaps = gaps_so_far(keys if self.head is None else keys[:, [self.head]], n_new)
        gap = gaps.amin(dim=1)
        # A NaN, where there are fewer than two keys, is neither below nor above.
        return ((gap < self.threshold) if self.below else (gap >= self.threshold)).float()

    @classmethod
    def read(cls, numbers: list[str]) -> Strength:
        """The gate with the layer, the threshold, and perhaps the word `below`."""
        text = ":".join([cls.name, *numbers])
        try:
            layer, threshold = read_whole(numbers[0]), read_real(numbers[1])
        except (IndexError, ValueError):
            layer, threshold = -1, 0.0
        if layer < 0 or numbers[2:] not in ([], ["below"]):
            raise BadValueError(
                f"cannot read strength {text!r}; write {cls.name}:LAYER:THRESHOLD or "
                f"{cls.name}:LAYER:THRESHOLD:below."
            )
        return cls(layer, threshold, bool(numbers[2:]))


def gaps_so_far(
    keys: Float[Tensor, "row head token d"], n_new: int
) -> Float[Tensor, "row head new"]:
    """(λ₁ - λ₂) / λ₁ of the keys from position 1 up to each of the last tokens; NaN for fewer than 2.

    Args:
        keys: of all tokens so far.
        n_new: how many of the last tokens are asked about.
    """
    n_tokens = keys.shape[2]
    content = keys[:, :, 1:].double()
    gaps = keys.new_full((*keys.shape[:2], n_new), torch.nan)
    # The Gram matrix up to a token adds that token to the one before.
    gram = torch.zeros(*keys.shape[:2], keys.shape[3], keys.shape[3], dtype=torch.float64)
    gram = gram.to(keys.device)
    first = max(n_tokens - n_new - 1, 0)  # content tokens before the first that is asked about
    gram = gram + content[:, :, :first].mT @ content[:, :, :first]
    for place in range(first, n_tokens - 1):
        token = content[:, :, place]
        gram = gram + token[..., :, None] * token[..., None, :]
        if place >= 1:
            at = place + 1 - (n_tokens - n_new)
            gaps[:, :, at] = spectral_gap(torch.linalg.eigvalsh(gram)).to(gaps.dtype)
    return gaps
