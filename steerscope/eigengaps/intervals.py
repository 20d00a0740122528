"""Intervals of spectral statistics, which a sample shows with a bias."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from steerscope.statistics import CONFIDENCE

_MOST_GROUPS = 100


@dataclass(frozen=True)
class Scale:
    """The scale on which the error of a statistic is about normal, and its way back.

    Attributes:
        forward: from the statistic to that scale; it rises with the statistic.
        back: from that scale to the statistic, inside its range.
    """

    forward: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


PLAIN = Scale(lambda x: x, lambda y: y.clamp_min(0))
LOGARITHM = Scale(torch.log, torch.exp)
# 1 - gap is the ratio of two eigenvalues; a gap of 1 has none.
LOG_OF_REST = Scale(
    lambda x: -torch.log((1 - x).clamp_min(1e-12)), lambda y: 1 - torch.exp(-y.clamp_min(0))
)


@dataclass(frozen=True, eq=False)
class Resamples:
    """How often each prompt occurs in every resample.

    Attributes:
        bootstrap: prompts drawn with replacement.
        again: of each of these, once more drawn with replacement.
        left_out: all prompts but one group; a group is one prompt, or every hundredth where there
            are more than a hundred.
    """

    bootstrap: Float[Tensor, "sample prompt"]
    again: Float[Tensor, "sample prompt"]
    left_out: Float[Tensor, "group prompt"]

    @property
    def weights(self) -> Float[Tensor, "resample prompt"]:
        """All of them, one after the other."""
        return torch.cat([self.bootstrap, self.again, self.left_out])

    def parts(
        self, found: Float[Tensor, "resample ..."]
    ) -> tuple[
        Float[Tensor, "sample ..."], Float[Tensor, "sample ..."], Float[Tensor, "group ..."]
    ]:
        """A statistic of all of them, back in the three kinds."""
        n = len(self.bootstrap)
        return found[:n], found[n : 2 * n], found[2 * n :]


def resamples(n_prompts: int, n_bootstrap: int, generator: torch.Generator) -> Resamples:
    """Resamples of prompts for `bias_corrected`."""
    drawn = torch.randint(n_prompts, (n_bootstrap, n_prompts), generator=generator)
    again = drawn.gather(1, torch.randint(n_prompts, drawn.shape, generator=generator))
    groups = torch.arange(n_prompts) % min(n_prompts, _MOST_GROUPS)
    kept = groups[None, :] != torch.arange(int(groups.max()) + 1)[:, None]
    return Resamples(_counts(drawn), _counts(again), kept.double())


def _counts(drawn: Tensor) -> Float[Tensor, "sample prompt"]:
    n = drawn.shape[1]
    return torch.stack([torch.bincount(d, minlength=n) for d in drawn]).double()


@dataclass(frozen=True, eq=False)
class Corrected:
    """A statistic without the bias of its sample, on its scale.

    Attributes:
        centre: corrected estimate.
        half: half-width of its 95 % interval.
        bootstrap: values of the resamples, whose spread it shares with other statistics.
        scale: of the statistic.
    """

    centre: Float[Tensor, ...]
    half: Float[Tensor, ...]
    bootstrap: Float[Tensor, "sample ..."]
    scale: Scale

    @property
    def low(self) -> Float[Tensor, ...]:
        """Lower end of the interval, in the unit of the statistic."""
        return self.scale.back(self.centre - self.half)

    @property
    def high(self) -> Float[Tensor, ...]:
        """Upper end of the interval, in the unit of the statistic."""
        return self.scale.back(self.centre + self.half)


def bias_corrected(
    value: Float[Tensor, ...], found: Float[Tensor, "resample ..."], of: Resamples, scale: Scale
) -> Corrected:
    """The statistic that infinitely many prompts would have, with its 95 % interval.

    On the scale of the statistic, with θ the sample's, θ* those of the resamples and θ** those of the
    resamples of these: centre 3 θ - 3 mean θ* + mean θ**, half-width (2 - b) t s. s is the jackknife's
    standard error over the groups, t Student's with groups - 1 degrees of freedom, and b <= 1 the
    slope of θ** on θ*: the largest eigenvalue of a sample is too large and the second too far from it,
    the more so the nearer they are, so that the correction moves with the sample and widens the
    interval of what it corrects. The percentile interval of a bootstrap has the bias twice; the basic
    and the BCa interval have the quantiles of nearly equal eigenvalues. The interval need not hold the
    value of the sample.

    In simulations of prompts whose tokens are correlated (400 repetitions of each of 96 spectra that
    fall harmonically or geometrically from a gap of 0.15 to 0.85, in 8 to 64 dimensions, of 30 to 400
    prompts) the 95 % interval of the gap held the truth in 95.4 % on average, in 93 to 97 % in 87 of
    them and in 91.5 to 98.2 % in all; that of the participation ratio in 94.8 %. Where the second
    eigenvalue is the edge of many equal ones no resample shows how far the sample's lies beyond it, and
    the interval, whose gap is then too small, misses more often than not.

    Args:
        value: of the sample.
        found: of every resample, in the order of `of.weights`.
        of: the resamples.
        scale: of the statistic.

    Source: iterated bootstrap by Hall & Martin 1988; standard error by Tukey's jackknife.
    """
    at, (around, again, without) = scale.forward(value), of.parts(scale.forward(found))
    n = len(without)
    centre = 3 * at - 3 * around.mean(dim=0) + again.mean(dim=0)
    error = ((n - 1) / n * ((without - without.mean(dim=0)) ** 2).sum(dim=0)).sqrt()
    moved = around - around.mean(dim=0)
    slope = (moved * (again - again.mean(dim=0))).sum(dim=0) / (moved**2).sum(dim=0)
    wider = 2 - slope.nan_to_num(1.0).clamp(max=1.0)  # nothing moves in a spectrum of one value
    half = wider * float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    return Corrected(centre, half, around, scale)


def smallest(of: Corrected) -> tuple[Float[Tensor, ...], Float[Tensor, ...]]:
    """95 % interval of the smallest of some statistics, along the last dimension.

    The smallest of several estimates is too small: each errs, and the one that errs downwards is
    taken. The upper end is min(centre + k half / z), with k the quantile of the largest error among
    the contenders, those whose interval begins below the lowest upper end, and z that of a single one;
    the lower end is the smallest of the lower ends. With one contender it is its own interval; among
    equals the lower end is too low rather than too high.

    Source: intersection bounds, Chernozhukov, Lee & Rosen 2013.
    """
    low, high = of.centre - of.half, of.centre + of.half
    contends = low <= high.amin(dim=-1, keepdim=True)
    moved = of.bootstrap - of.bootstrap.mean(dim=0)
    errors = moved / moved.std(dim=0).clamp_min(torch.finfo(moved.dtype).tiny)
    largest = errors.masked_fill(~contends, -math.inf).amax(dim=-1)
    several = torch.quantile(largest, (1 + CONFIDENCE) / 2, dim=0)
    single = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    wider = torch.where(contends.sum(dim=-1) > 1, several / single, 1.0).clamp_min(1.0)
    upper = (of.centre + wider[..., None] * of.half).amin(dim=-1)
    return of.scale.back(low.amin(dim=-1)), of.scale.back(upper)
