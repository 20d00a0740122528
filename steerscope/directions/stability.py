"""How much a direction owes to the pairs it was found from, and how many more it needs.

Pure functions of a contrast and a method by name; they never touch a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from steerscope.directions import find_direction
from steerscope.errors import BadValueError
from steerscope.extraction.activations import Contrast
from steerscope.statistics import CONFIDENCE, Estimate

_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
_POOR_FIT = 0.15  # of a cosine
_LARGEST_HALF = 1e9  # pairs; the end of the search for n₀


@dataclass(frozen=True, eq=False)
class Jackknife:
    """What the direction becomes without each pair.

    Attributes:
        cosines: with the direction from all pairs; a low one marks a pair that decides much.
        standard_error: √((n - 1)/n Σᵢ ||uᵢ - ū||²), the expected length of the unit vector's error,
            which for small errors is its angle in radians.
    """

    cosines: Float[np.ndarray, " pair"]
    standard_error: float


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """How directions from few pairs agree with each other and with the one from all.

    Attributes:
        method: how the directions were found.
        sizes: numbers of pairs.
        to_full: cosine of a direction from that many pairs with the one from all, which shares them.
        between: cosine of directions from two disjoint draws of that many pairs; NaN where there
            are not twice as many.
    """

    method: str
    sizes: tuple[int, ...]
    to_full: Float[np.ndarray, "size draw"]
    between: Float[np.ndarray, "size draw"]

    def medians(self) -> list[tuple[int, Estimate, Estimate]]:
        """Per size: the median and central 95 % of the draws, to the full and between halves."""
        rows = zip(self.sizes, self.to_full, self.between, strict=True)
        return [(size, _central(full), _central(between)) for size, full, between in rows]


@dataclass(frozen=True)
class PairsNeeded:
    """Number of pairs for a cosine between two independent directions; `str` is the sentence.

    Attributes:
        pairs: by the model, which knows no smallest number; infinite where halves do not agree at all.
        low: its lower end over the draws, central 95 %.
        high: its upper end.
        cosine: the cosine asked for.
        half: n₀ of the model, the number of pairs at which the cosine is one half.
        misfit: largest distance of the model from a measured median.
        smallest: the smallest number of pairs measured; of fewer the sentence does not tell.
        largest: the largest number of pairs measured; beyond it the model extrapolates.
    """

    method: str
    pairs: float
    low: float
    high: float
    cosine: float
    half: float
    misfit: float
    smallest: int
    largest: int

    @property
    def extrapolated(self) -> bool:
        """Whether the number lies beyond what was measured."""
        return self.pairs > self.largest

    @property
    def fits_poorly(self) -> bool:
        """Whether the model is too far from what was measured to be relied on."""
        return self.misfit > _POOR_FIT

    def __str__(self) -> str:
        if math.isinf(self.pairs):
            return (
                f"{self.method}: directions from disjoint draws of up to {self.largest} pairs do not "
                f"agree, so no number of pairs for a cosine of {self.cosine:g} is in sight."
            )
        middle, low, high = (max(1.0, n) for n in (self.pairs, self.low, self.high))
        word = "pair" if round(middle) == 1 else "pairs"
        number = f"about {middle:.0f} {word} ({low:.0f} to {high:.0f})"
        if self.high < self.smallest:
            number = f"no more than {self.smallest} pairs, the fewest measured,"
        sentence = (
            f"{self.method}: you need {number} for a split-half cosine of {self.cosine:g}, by n / (n + "
            f"{self.half:.3g}), which misses the measured medians by up to {self.misfit:.2f}"
        )
        beyond = f"; measured up to {self.largest}, so this is an extrapolation"
        doubt = "; a poor fit, so the number is a rough guide at best"
        return sentence + beyond * self.extrapolated + doubt * self.fits_poorly + "."


def split_half(contrast: Contrast, method: str, *, n_splits: int = 50, seed: int = 0) -> Estimate:
    """Mean cosine between the directions of two random halves of the pairs.

    The interval is the central 95 % over the splits: how much the cosine owes to how the pairs were
    split. It is not an interval for other pairs. An odd pair is left out of each split.

    Args:
        contrast: enough pairs for the method in each half.
        method: name of a method.
        n_splits: random splits.
        seed: of the splits, and of the method where it draws.

    Raises:
        BadValueError: fewer than two pairs.
        DegenerateDirectionError: a half has too few pairs for the method.
    """
    n_pairs = len(contrast.positive)
    if n_pairs < 2:
        raise BadValueError(f"split halves need at least 2 pairs, got {n_pairs}.")
    unit = _finder(contrast, method, seed)
    half = n_pairs // 2
    cosines = np.array(
        [
            float(unit(order[:half]) @ unit(order[half : 2 * half]))
            for order in _orders(n_pairs, n_splits, seed)
        ]
    )
    low, high = np.quantile(cosines, _TAILS)
    return Estimate(float(cosines.mean()), float(low), float(high), n_pairs)


def jackknife(contrast: Contrast, method: str, *, seed: int = 0) -> Jackknife:
    """The direction without each pair in turn, and the standard error that follows.

    Args:
        contrast: the pairs.
        method: a name in `METHODS`.
        seed: for methods that draw random numbers.

    Raises:
        BadValueError: fewer than two pairs.
        DegenerateDirectionError: one pair fewer is too few for the method.

    Source: Efron 1982, with the sum of the variances of all components.
    """
    n_pairs = len(contrast.positive)
    if n_pairs < 2:
        raise BadValueError(f"the jackknife needs at least 2 pairs, got {n_pairs}.")
    unit = _finder(contrast, method, seed)
    everything = torch.arange(n_pairs)
    full = unit(everything)
    without = torch.stack([unit(everything[everything != left]) for left in range(n_pairs)])
    spread = float((without - without.mean(dim=0)).square().sum())
    return Jackknife((without @ full).numpy(), math.sqrt((n_pairs - 1) / n_pairs * spread))


def learning_curve(
    contrast: Contrast,
    method: str,
    sizes: Sequence[int] | None = None,
    *,
    n_draws: int = 30,
    seed: int = 0,
) -> LearningCurve:
    """Directions from ever more pairs, drawn at random without replacement.

    Args:
        contrast: the pairs to draw from.
        method: name of a method.
        sizes: numbers of pairs; default doubling from 4 to half of the pairs.
        n_draws: draws per size.
        seed: of the draws, and of the method where it draws.

    Raises:
        BadValueError: a size below 1 or above the number of pairs, or none.
        DegenerateDirectionError: a size is too small for the method.
    """
    n_pairs = len(contrast.positive)
    chosen = _default_sizes(n_pairs) if sizes is None else tuple(sorted(set(sizes)))
    if not chosen or not 1 <= chosen[0] <= chosen[-1] <= n_pairs:
        raise BadValueError(
            f"sizes {', '.join(map(str, chosen)) or '(none)'} must lie between 1 and the "
            f"{n_pairs} pairs; give sizes, or at least 8 pairs."
        )
    unit = _finder(contrast, method, seed)
    full = unit(torch.arange(n_pairs))
    to_full, between = np.full((2, len(chosen), n_draws), np.nan)
    for draw, order in enumerate(_orders(n_pairs, n_draws, seed)):
        for row, size in enumerate(chosen):
            one = unit(order[:size])
            to_full[row, draw] = float(one @ full)
            if 2 * size <= n_pairs:
                between[row, draw] = float(one @ unit(order[size : 2 * size]))
    return LearningCurve(method, chosen, to_full, between)


def pairs_needed(curve: LearningCurve, *, cosine: float = 0.9) -> PairsNeeded:
    """How many pairs two independent directions need to reach a cosine.

    r(n) = n / (n + n₀), fitted to the measured medians between disjoint draws by least squares;
    n = n₀ r / (1 - r). The model is exact for the mean of independent pairs in a wide space, where
    n₀ is the variance of the differences over the squared length of their mean; for other methods
    it is an approximation, and `misfit` says how far it is off. The interval comes from a fit per
    draw; all draws share the same pairs, so it leaves out what other pairs would change.

    Args:
        curve: at least one size with two disjoint draws.
        cosine: between 0 and 1.

    Raises:
        BadValueError: a cosine outside its range, or no size with two disjoint draws.

    Source: Spearman 1910 and Brown 1910, the reliability of a lengthened test.
    """
    if not 0 < cosine < 1:
        raise BadValueError(f"cosine {cosine:g} must lie between 0 and 1.")
    measured = ~np.isnan(curve.between).any(axis=1)
    if not measured.any():
        raise BadValueError("no size has two disjoint draws; give sizes up to half of the pairs.")
    sizes = np.array(curve.sizes, dtype=float)[measured]
    draws = curve.between[measured]
    medians = np.median(draws, axis=1)
    half = _half_reliability(sizes, medians)
    odds = cosine / (1 - cosine)
    low, high = np.quantile(
        [_half_reliability(sizes, d) for d in draws.T], _TAILS, method="nearest"
    )
    return PairsNeeded(
        method=curve.method,
        pairs=half * odds,
        low=float(low) * odds,
        high=float(high) * odds,
        cosine=cosine,
        half=half,
        misfit=float(np.abs(sizes / (sizes + half) - medians).max()),
        smallest=int(sizes[0]),
        largest=int(sizes[-1]),
    )


def _half_reliability(
    sizes: Float[np.ndarray, " size"], cosines: Float[np.ndarray, " size"]
) -> float:
    """n₀ of the closest n / (n + n₀); infinite where the best fit is no agreement."""
    bounds = (math.log(1e-9), math.log(_LARGEST_HALF))
    options = {"xatol": 1e-9}
    found = minimize_scalar(
        _misses, args=(sizes, cosines), bounds=bounds, method="bounded", options=options
    ).x
    nothing = float((cosines**2).sum())
    if _misses(float(found), sizes, cosines) >= nothing * (1 - 1e-6):
        return math.inf
    return math.exp(found)


def _misses(
    log_half: float, sizes: Float[np.ndarray, " size"], cosines: Float[np.ndarray, " size"]
) -> float:
    return float(((sizes / (sizes + math.exp(log_half)) - cosines) ** 2).sum())


def _finder(contrast: Contrast, method: str, seed: int) -> Callable[[Tensor], Tensor]:
    """The unit vector from some of the pairs."""
    return lambda pairs: find_direction(method, contrast.take(pairs), seed=seed).unit


def _orders(n_pairs: int, n_draws: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(n_pairs, generator=generator) for _ in range(n_draws)]


def _default_sizes(n_pairs: int) -> tuple[int, ...]:
    """4, 8, 16, ... and half of the pairs."""
    doubling = (4 * 2**step for step in range(32))
    return tuple(sorted({n for n in doubling if n <= n_pairs // 2} | {n_pairs // 2} - {0, 1, 2, 3}))


def _central(values: Float[np.ndarray, " draw"]) -> Estimate:
    low, middle, high = np.quantile(values, [_TAILS[0], 0.5, _TAILS[1]])
    return Estimate(float(middle), float(low), float(high), len(values))
