"""A token budget as a change of the end token's probability, by a gamma-shaped guess of how long texts are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from steerscope.engine.sampling import Greedy, Sampler
from steerscope.errors import BadValueError

_LEAST = 1e-9  # chance of keeping within the budget; below it the text ends now


@dataclass(frozen=True)
class GammaLengths:
    """How long texts are, as a gamma distribution of tokens.

    Attributes:
        shape: k.
        mean: tokens.

    Raises:
        BadValueError: one of them is not above 0.
    """

    shape: float
    mean: float

    def __post_init__(self) -> None:
        if not (0 < self.shape < math.inf and 0 < self.mean < math.inf):
            raise BadValueError(f"a gamma of shape {self.shape} and mean {self.mean} is none.")

    def within(self, budget: int, written: int) -> float:
        """P(length <= budget | length > written): the chance of keeping within it after one more token."""
        if written >= budget:
            return 0.0
        at = stats.gamma.cdf([written, budget], self.shape, scale=self.mean / self.shape)
        return float((at[1] - at[0]) / (1 - at[0])) if at[0] < 1 else 0.0


def fit_lengths(lengths: Sequence[int]) -> GammaLengths:
    """The gamma of the lengths' mean and variance: k = m² / v.

    Args:
        lengths: of texts that the model ended by itself.

    Raises:
        BadValueError: fewer than two, or all of one length.
    """
    given = np.array(lengths, dtype=float)
    if len(given) < 2 or given.std() == 0:
        raise BadValueError(
            "lengths are fitted on at least two texts that ended by themselves and differ in length; "
            "write more, or longer ones."
        )
    return GammaLengths(float(given.mean() ** 2 / given.var(ddof=1)), float(given.mean()))


@dataclass(frozen=True)
class Budget:
    """A sampler that asks texts to end within so many tokens.

    p'(end) ∝ p(end), p'(x) ∝ p(x) P(length <= budget | it goes on): what goes on is weighed by the chance
    that a text which got so far still keeps within the budget. At the budget it ends. The chance is that of
    the lengths alone: it knows how many tokens were written and not which.

    Attributes:
        tokens: the budget.
        lengths: of texts without a budget.
        ends: the tokens that end a text.
        inner: chooses among the tokens so weighed.

    Raises:
        BadValueError: no token, or none that ends a text.

    Source: Li et al. 2025, budget guidance (arXiv:2506.13752), with a gamma of the text's length in place
    of a learned predictor of what is left.
    """

    tokens: int
    lengths: GammaLengths
    ends: tuple[int, ...]
    inner: Sampler = Greedy()

    def __post_init__(self) -> None:
        if self.tokens < 1 or not self.ends:
            raise BadValueError("a budget needs at least one token, and a token that ends a text.")

    @property
    def repetition_penalty(self) -> float:
        """That of the sampler within."""
        return float(getattr(self.inner, "repetition_penalty", 1.0))

    def choose(
        self, logits: Float[Tensor, "row vocab"], keys: Sequence[str]
    ) -> Int[Tensor, " row"]:
        """Next tokens; the last part of a key is the number of tokens written so far."""
        written = [int(key.rsplit("|", 1)[1]) for key in keys]
        chances = [self.lengths.within(self.tokens, n) for n in written]
        weighed = logits.float().clone()
        going = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
        going[list(self.ends)] = False
        for row, chance in enumerate(chances):
            weighed[row, going] += math.log(chance) if chance > _LEAST else -math.inf
        return self.inner.choose(weighed, keys)
