"""Spectra of the attention keys: how far one direction leads, per head, with interval and nulls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from steerscope.eigengaps.intervals import Resamples, bias_corrected, resamples, smallest
from steerscope.eigengaps.keys import (
    LEGACY,
    Keys,
    KeyView,
    Variant,
    arrange,
    read_keys,
    shuffled_words,
    token_ids,
)
from steerscope.eigengaps.nulls import permuted_keys, random_keys
from steerscope.eigengaps.spectrum import STATISTICS, gram_eigenvalues, spectral_gap, with_ridge
from steerscope.errors import BadValueError, NotFiniteError
from steerscope.models.lens_model import LensModel
from steerscope.models.prompts import Prompts, as_prompts
from steerscope.progress import Track, silent

_REPEATS = 20  # draws of each null that is made from the keys alone


@dataclass(frozen=True, eq=False)
class HeadStatistic:
    """One number per head with its 95 % interval over prompts.

    The value is that of the sample, and the interval that of what infinitely many such prompts would
    have, corrected for the bias of a sample; see `intervals.bias_corrected`.
    """

    value: Float[Tensor, "layer head"]
    low: Float[Tensor, "layer head"]
    high: Float[Tensor, "layer head"]
    unit: str


@dataclass(frozen=True, eq=False)
class WeakestLink:
    """The smallest gap of each layer's heads.

    Attributes:
        value: of the sample.
        low: lower end of its 95 % interval; see `intervals.smallest`.
        high: upper end.
        head: the head that has it in the sample.
        nulls: by null as of `HeadSpectra`, the mean over draws of the smallest gap of each draw, as the value is
            the smallest of its own.
    """

    value: Float[Tensor, " layer"]
    low: Float[Tensor, " layer"]
    high: Float[Tensor, " layer"]
    head: Int[Tensor, " layer"]
    nulls: Mapping[str, Float[Tensor, " layer"]]


@dataclass(frozen=True, eq=False)
class HeadSpectra:
    """Spectral statistics of the keys of every head, one row per layer that has attention.

    Attributes:
        view: which keys, and how.
        layers: the layer of each row, 0-based.
        statistics: by name: `gap` is (λ₁ - λ₂) / λ₁, between 0 and 1; `absolute_gap` λ₁ - λ₂;
            `participation_ratio` (Σλ)² / Σλ² and `effective_rank` exp of the entropy of λ / Σλ,
            both between 1 and d_head; `entropy` that entropy in nats.
        nulls: mean gap by null: `random` directions of the same lengths; components `permuted` over
            the tokens; the `shuffled` words of the same prompts.
        n_prompts: prompts used.
        n_tokens: keys used per head.
        weakest: the smallest gap of each layer, with its interval; None for spectra without any.
    """

    view: KeyView
    layers: tuple[int, ...]
    statistics: Mapping[str, HeadStatistic]
    nulls: Mapping[str, Float[Tensor, "layer head"]]
    n_prompts: int
    n_tokens: int
    weakest: WeakestLink | None = None

    @property
    def gap(self) -> Float[Tensor, "layer head"]:
        """(λ₁ - λ₂) / λ₁."""
        return self.statistics["gap"].value

    @property
    def low(self) -> Float[Tensor, "layer head"]:
        """Lower end of the interval of the gap."""
        return self.statistics["gap"].low

    @property
    def high(self) -> Float[Tensor, "layer head"]:
        """Upper end of the interval of the gap."""
        return self.statistics["gap"].high

    @property
    def null_gap(self) -> Float[Tensor, "layer head"]:
        """Mean gap of keys with the same lengths and random directions."""
        return self.nulls["random"]

    @property
    def participation_ratio(self) -> Float[Tensor, "layer head"]:
        """(Σλ)² / Σλ²."""
        return self.statistics["participation_ratio"].value

    @property
    def effective_rank(self) -> Float[Tensor, "layer head"]:
        """exp of the entropy of λ / Σλ."""
        return self.statistics["effective_rank"].value

    def weakest_link(self) -> tuple[Float[Tensor, " layer"], Int[Tensor, " layer"]]:
        """Smallest gap of each layer, and the head that has it."""
        found = self.gap.min(dim=1)
        return found.values, found.indices

    def table(self) -> pd.DataFrame:
        """One row per layer, head and statistic, with interval, unit and n; the gap with its nulls."""
        rows = []
        for name, statistic in self.statistics.items():
            nulls = self.nulls if name == "gap" else {}
            for row, layer in enumerate(self.layers):
                for head in range(statistic.value.shape[1]):
                    rows.append(
                        {
                            "layer": layer,
                            "head": head,
                            "statistic": name,
                            "value": float(statistic.value[row, head]),
                            "low": float(statistic.low[row, head]),
                            "high": float(statistic.high[row, head]),
                            "unit": statistic.unit,
                            "n_prompts": self.n_prompts,
                            **{f"null_{n}": float(gap[row, head]) for n, gap in nulls.items()},
                        }
                    )
        return pd.DataFrame(rows)


@torch.no_grad()
def eigengap(
    model: LensModel,
    prompts: Prompts,
    view: KeyView | None = None,
    *,
    legacy: bool = False,
    n_bootstrap: int = 200,
    seed: int = 0,
    batch_size: int = 64,
    progress: Track = silent,
) -> HeadSpectra:
    """Eigengap of the keys of every head, pooled over the tokens of all prompts.

    λ are the eigenvalues of the Gram matrix K Kᵀ / d_head, plus any ridge. Heads that share keys
    count once.

    Args:
        model: the model.
        prompts: texts or token ids, at least two.
        view: which keys, and how; default centred, before rotation, without position 0.
        legacy: the published definition in place of a view: no BOS, position 0 counted, a ridge of
            0.01.
        n_bootstrap: resamples of the prompts, for the bias that the intervals correct.
        seed: of the resamples and of the nulls.
        batch_size: prompts in one pass.
        progress: shows the loops.

    Raises:
        BadValueError: fewer than two prompts, or both a view and `legacy`.
        UnsupportedSiteError: the model has no attention keys, or does not rotate them.
        NotFiniteError: a key is not finite, or the keys of a head do not vary at all.

    Source: the "weakest link" of FF-GardenFn/kernel-ridge-steering, by default without its ridge and
    with position 0 left out.
    """
    asked = as_prompts(prompts)
    if len(asked) < 2:
        raise BadValueError(f"the eigengap needs at least 2 prompts, got {len(asked)}.")
    if legacy and view is not None:
        raise BadValueError("legacy is itself a view of the keys; give one of the two.")
    view = LEGACY if legacy else view or KeyView()
    generator = torch.Generator().manual_seed(seed)
    ids = token_ids(model, asked, view)
    keys = read_keys(model, ids, view, batch_size=batch_size, progress=progress)
    of = resamples(len(ids), n_bootstrap, generator)
    words = shuffled_words(ids, view.first, generator)
    other = read_keys(model, words, view, batch_size=batch_size, progress=progress)
    draws = {
        "random": _null_gaps(keys, view, random_keys, generator),
        "permuted": _null_gaps(keys, view, permuted_keys, generator),
        "shuffled": _gap(other.values, other.prompts, view)[None],
    }
    statistics, weakest = _statistics(keys, view, of, draws, progress)
    nulls = {name: gaps.mean(dim=0) for name, gaps in draws.items()}
    return HeadSpectra(view, keys.layers, statistics, nulls, len(ids), len(keys.prompts), weakest)


@torch.no_grad()
def head_statistics(
    model: LensModel,
    prompts: Prompts,
    view: KeyView | None = None,
    *,
    batch_size: int = 64,
    progress: Track = silent,
) -> dict[str, Float[Tensor, "layer head"]]:
    """Every spectral statistic of every head, as `eigengap` gives them but with no interval and no null.

    One pass over the prompts that ends before the unembedding, and one eigensolver for all heads: it
    costs about as much as the plain forward pass.

    Args:
        model: the model.
        prompts: texts or token ids.
        view: which keys, and how; default as for `eigengap`.
        batch_size: prompts in one pass.
        progress: shows the loop.

    Returns:
        By name of the statistic, a value for every head, [layer, head].

    Raises:
        BadValueError: a prompt has no token that counts.
        UnsupportedSiteError: the model has no attention keys, or does not rotate them.
        NotFiniteError: a key is not finite, or the keys of a head do not vary at all.
    """
    view = view or KeyView()
    ids = token_ids(model, as_prompts(prompts), view)
    keys = read_keys(model, ids, view, batch_size=batch_size, progress=progress)
    found = _values(_eigenvalues(keys, view), view)
    return {name: value.float() for name, value in found.items()}


def _eigenvalues(keys: Keys, view: KeyView) -> Float[Tensor, "layer head rank"]:
    """Eigenvalues of every head.

    Raises:
        NotFiniteError: the keys of a head do not vary at all.
    """
    arranged = arrange(keys.values, keys.prompts, view.variant)
    eigenvalues = gram_eigenvalues(arranged, ridge=view.ridge)
    still = (eigenvalues[..., -1] <= 0).nonzero().tolist()
    if still:
        row, head = still[0]
        raise NotFiniteError(
            f"the keys of layer {keys.layers[row]}, head {head} are all the same, so that they have "
            "no spectrum; use more or longer prompts, or the uncentred variant."
        )
    return eigenvalues


def _values(
    eigenvalues: Float[Tensor, "*batch rank"], view: KeyView
) -> dict[str, Float[Tensor, "*batch"]]:
    """Every statistic of some spectra."""
    return {
        name: function(eigenvalues, **({"guard": view.guard} if name == "gap" else {}))
        for name, (function, _, _) in STATISTICS.items()
    }


def _gap(
    keys: Float[Tensor, "*batch token d"], prompts: Int[Tensor, " token"], view: KeyView
) -> Float[Tensor, "*batch"]:
    arranged = arrange(keys, prompts, view.variant)
    return spectral_gap(gram_eigenvalues(arranged, ridge=view.ridge), view.guard).float()


def _null_gaps(
    keys: Keys,
    view: KeyView,
    draw: Callable[[Tensor, torch.Generator], Tensor],
    generator: torch.Generator,
) -> Float[Tensor, "draw layer head"]:
    """Gaps of keys drawn by a null, one layer at a time to bound memory."""
    found = []
    for layer in keys.values:
        draws = [_gap(draw(layer, generator), keys.prompts, view) for _ in range(_REPEATS)]
        found.append(torch.stack(draws))
    return torch.stack(found, dim=1)


def _statistics(
    keys: Keys,
    view: KeyView,
    of: Resamples,
    nulls: Mapping[str, Float[Tensor, "draw layer head"]],
    progress: Track,
) -> tuple[dict[str, HeadStatistic], WeakestLink]:
    """Every statistic of every head, and the smallest gap of every layer, with intervals."""
    eigenvalues = _eigenvalues(keys, view)
    n_tokens = len(keys.prompts)
    resampled = [
        with_ridge(
            resampled_eigenvalues(layer, keys.prompts, of.weights, view.variant),
            n_tokens,
            view.ridge,
        )
        for layer in progress(list(keys.values), "resampling prompts")
    ]
    values, draws = _values(eigenvalues, view), _values(torch.stack(resampled, dim=1), view)
    corrected = {
        name: bias_corrected(values[name], draws[name], of, scale)
        for name, (_, _, scale) in STATISTICS.items()
    }
    found = {
        name: HeadStatistic(
            values[name].float(), c.low.float(), c.high.float(), STATISTICS[name][1]
        )
        for name, c in corrected.items()
    }
    least = values["gap"].float().min(dim=1)
    low, high = smallest(corrected["gap"])
    by_chance = {name: gaps.amin(dim=-1).mean(dim=0) for name, gaps in nulls.items()}
    return found, WeakestLink(least.values, low.float(), high.float(), least.indices, by_chance)


def resampled_eigenvalues(
    keys: Float[Tensor, "head token d"],
    prompts: Int[Tensor, " token"],
    weights: Float[Tensor, "sample prompt"],
    variant: Variant,
) -> Float[Tensor, "sample head d"]:
    """Ascending eigenvalues of the Gram matrix when prompt i occurs `weights[:, i]` times.

    Second moments of the prompts are summed once, so that a resample costs no pass over the tokens.
    """
    counts = torch.bincount(prompts)
    parts = keys.double().split(counts.tolist(), dim=-2)
    second = torch.stack([p.mT @ p for p in parts])
    sums = torch.stack([p.sum(dim=-2) for p in parts])
    if variant == "averaged":
        n = counts[:, None, None, None].double()
        second = (second - sums[..., :, None] * sums[..., None, :] / n) / n
        second = second * (len(prompts) / len(counts))
    pooled = einsum(weights, second, "sample prompt, prompt head d e -> sample head d e")
    if variant == "centred":
        total = einsum(weights, sums, "sample prompt, prompt head d -> sample head d")
        n_tokens = (weights @ counts.double())[:, None, None, None]
        pooled = pooled - total[..., :, None] * total[..., None, :] / n_tokens
    return torch.linalg.eigvalsh(pooled / keys.shape[-1])
