"""The attention keys of prompts, and the ways to arrange them before their spectrum is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.errors import (
    BadValueError,
    NotFiniteError,
    UnsupportedSiteError,
    check_name,
)
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.sites import Site, Stream
from steerscope.texts.batches import equal_length_batches

Variant = Literal["uncentred", "centred", "averaged"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


def check_variant(name: str) -> Variant:
    """The variant of that name.

    Raises:
        UnknownNameError: there is none; the message lists the known ones.
    """
    return check_name("variant", name, VARIANTS)


@dataclass(frozen=True)
class KeyView:
    """Which keys enter a spectrum, and how.

    Attributes:
        variant: `uncentred`; `centred` on the mean of all keys; `averaged`, each prompt centred on
            its own mean and all prompts given the same weight, so that differences between prompts
            and their lengths play no part.
        rotated: keys after the rotation by position and not before it.
        include_first: whether position 0, the attention sink, counts as a token.
        bos: whether the prompts begin as the model's do; False for the bare text.
        ridge: added to the diagonal of the Gram matrix, in squared activation units.
        guard: added to λ₁ in the denominator of the gap.

    Raises:
        UnknownNameError: no such variant.
        BadValueError: a negative ridge or guard.
    """

    variant: Variant = "centred"
    rotated: bool = False
    include_first: bool = False
    bos: bool = True
    ridge: float = 0.0
    guard: float = 0.0

    def __post_init__(self) -> None:
        check_variant(self.variant)
        if not (self.ridge >= 0 and self.guard >= 0):
            raise BadValueError(f"ridge {self.ridge} and guard {self.guard} must be >= 0.")

    @property
    def stream(self) -> Stream:
        """The stream that is read."""
        return "rot_k" if self.rotated else "k"

    @property
    def first(self) -> int:
        """The first position that counts."""
        return 0 if self.include_first else 1


# The definition of the published table of GPT-2 small. Source: FF-GardenFn/kernel-ridge-steering.
LEGACY = KeyView("centred", include_first=True, bos=False, ridge=0.01, guard=1e-8)


@dataclass(frozen=True, eq=False)
class Keys:
    """Keys of every layer that has them; the tokens of a prompt lie side by side.

    Attributes:
        layers: the layer of each row of `values`, 0-based.
        values: one key per token and key-value head.
        prompts: the prompt of each token, from 0 upward.
    """

    layers: tuple[int, ...]
    values: Float[Tensor, "layer head token d"]
    prompts: Int[Tensor, " token"]


def token_ids(
    model: LensModel, prompts: Sequence[str | Sequence[int]], view: KeyView
) -> list[list[int]]:
    """Token ids of prompts as a view wants them.

    Raises:
        BadValueError: a prompt has no token that counts.
    """
    ids = [model.tokens(p, bos=None if view.bos else "never") for p in prompts]
    shortest = min(map(len, ids))
    if shortest <= view.first:
        raise BadValueError("a prompt has no token but position 0; use longer prompts.")
    if view.variant == "averaged" and shortest <= view.first + 1:
        raise BadValueError(
            "a prompt has one token that counts, which does not vary; use longer prompts or another "
            "variant than averaged."
        )
    return ids


def shuffled_words(
    ids: Sequence[Sequence[int]], first: int, generator: torch.Generator
) -> list[list[int]]:
    """The same prompts with the order of their tokens drawn at random from `first` on."""
    result = []
    for tokens in ids:
        order = torch.randperm(len(tokens) - first, generator=generator).tolist()
        result.append([*tokens[:first], *(tokens[first + i] for i in order)])
    return result


@torch.no_grad()
def read_keys(
    model: LensModel,
    ids: Sequence[Sequence[int]],
    view: KeyView,
    *,
    batch_size: int = 64,
    progress: Track = silent,
) -> Keys:
    """Keys of every layer that has them; heads that share keys count once.

    Raises:
        UnsupportedSiteError: the model has no attention keys, or does not rotate them.
        NotFiniteError: a key is not finite.
    """
    sites = [Site(view.stream, layer) for layer in range(model.shape.n_layers)]
    sites = [s for s in sites if model.has(s)]
    if not sites:
        what = "rotated keys" if view.rotated else "attention keys"
        raise UnsupportedSiteError(f"{model.name} has no {what} to analyse.")
    found: list[Tensor] = [torch.empty(0)] * len(ids)
    for batch in progress(equal_length_batches(ids, batch_size, model.device), "reading keys"):
        read = model.read(batch.tokens, sites)
        kept = torch.stack([read[s][:, view.first :].float().cpu() for s in sites])
        by_head = rearrange(kept, "l b p (h d) -> b l h p d", d=model.shape.d_head)
        for index, keys in zip(batch.indices, by_head, strict=True):
            found[index] = keys
    values = torch.cat(found, dim=2)
    if not torch.isfinite(values).all():
        raise NotFiniteError(f"keys of {model.name} are not finite.")
    counts = torch.tensor([k.shape[2] for k in found])
    return Keys(
        tuple(s.layer for s in sites), values, torch.arange(len(ids)).repeat_interleave(counts)
    )


def arrange(
    keys: Float[Tensor, "*batch token d"], prompts: Int[Tensor, " token"], variant: Variant
) -> Float[Tensor, "*batch token d"]:
    """The rows whose Gram matrix a variant asks for."""
    if variant == "uncentred":
        return keys
    if variant == "centred":
        return keys - keys.mean(dim=-2, keepdim=True)
    counts = torch.bincount(prompts)
    parts = [
        (rows - rows.mean(dim=-2, keepdim=True)) / rows.shape[-2] ** 0.5
        for rows in keys.split(counts.tolist(), dim=-2)
    ]
    return torch.cat(parts, dim=-2) * (len(prompts) / len(counts)) ** 0.5
