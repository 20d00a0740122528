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
        forward: from the statistic to that scale.
        back: from that scale to the statistic, inside its range.
    """

    forward: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


PLAIN = Scale(lambda x: x, lambda y: y.clamp_min(0))
LOGARITHM = Scale(torch.log, torch.exp)
# 1 - gap is the ratio of two eigenvalues; a gap of 1 has none.
LOG_OF_REST = Scale(
    lambda x: torch.log((1 - x).clamp_min(1e-12)), lambda y: 1 - torch.exp(y.clamp_max(0))
)


def resamples(
    n_prompts: int, n_bootstrap: int, generator: torch.Generator
) -> tuple[Float[Tensor, "sample prompt"], Float[Tensor, "group prompt"]]:
    """How often each prompt occurs in every bootstrap resample, and when a group is left out.

    A group is one prompt, or every hundredth where there are more than a hundred prompts.
    """
    drawn = torch.randint(n_prompts, (n_bootstrap, n_prompts), generator=generator)
    bootstrap = torch.stack([torch.bincount(d, minlength=n_prompts) for d in drawn]).double()
    groups = torch.arange(n_prompts) % min(n_prompts, _MOST_GROUPS)
    kept = groups[None, :] != torch.arange(int(groups.max()) + 1)[:, None]
    return bootstrap, kept.double()


def interval(
    value: Float[Tensor, ...],
    bootstrap: Float[Tensor, "sample ..."],
    left_out: Float[Tensor, "group ..."],
    scale: Scale,
) -> tuple[Float[Tensor, ...], Float[Tensor, ...]]:
    """95 % interval of the statistic that infinitely many prompts would have.

    θ - (mean θ* - θ) ± t s on the scale of the statistic, with θ* the bootstrap resamples, s the
    jackknife's standard error over the groups and t Student's with groups - 1 degrees of freedom.
    The largest eigenvalue of a sample is too large, and the second too far from it or too near, so
    that the percentile interval of a bootstrap, which has that bias twice, misses; so do the basic
    and the BCa interval, whose quantiles are those of nearly equal eigenvalues. The interval need
    not hold the value of the sample.

    In simulations at nominal 95 % the gap was covered in 87 to 97.5 % of repetitions; least where the
    leading eigenvalues are near each other (gap 0.3 in 32 dimensions) and prompts few (60).

    Args:
        value: the statistic of the sample.
        bootstrap: of resamples of the prompts.
        left_out: of the prompts without one group.
        scale: of the statistic.

    Source: bias by Efron 1979; standard error by Tukey's jackknife.
    """
    at, around, without = (scale.forward(x) for x in (value, bootstrap, left_out))
    n = len(without)
    centre = 2 * at - around.mean(dim=0)
    spread = ((without - without.mean(dim=0)) ** 2).sum(dim=0)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * math.sqrt((n - 1) / n) * spread.sqrt()
    ends = torch.stack([scale.back(centre - half), scale.back(centre + half)])
    return ends.amin(dim=0), ends.amax(dim=0)
