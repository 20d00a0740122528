"""One number per layer, the same shape for every diagnostic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.statistics import CONFIDENCE


@dataclass(frozen=True)
class LayerValue:
    """A diagnostic of one layer.

    Attributes:
        diagnostic: its name.
        layer: 0-based.
        value: what was measured, in `unit`.
        low: lower end of the 95 % bootstrap interval.
        high: upper end of it.
        null: what the same measurement gives where there is nothing to find; NaN where no null has
            a meaning.
        unit: of value, interval and null.
        n: prompts or pairs behind it.
    """

    diagnostic: str
    layer: int
    value: float
    low: float
    high: float
    unit: str
    n: int
    null: float = math.nan


def as_table(values: Iterable[LayerValue]) -> pd.DataFrame:
    """One row per layer and diagnostic."""
    return pd.DataFrame([asdict(v) for v in values], columns=[f.name for f in fields(LayerValue)])


def bootstrap_weights(
    n_items: int, *, seed: int = 0, n_resamples: int = 1000
) -> Float[Tensor, "sample item"]:
    """How often each item occurs in each of many samples drawn with replacement."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(n_items, (n_resamples, n_items), generator=generator)
    weights = torch.zeros(n_resamples, n_items, dtype=torch.float64)
    return weights.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))


def interval(draws: Float[Tensor, " sample"]) -> tuple[float, float]:
    """The 95 % percentile interval of bootstrap draws."""
    tail = (1 - CONFIDENCE) / 2
    low, high = (
        draws.double().quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    )
    return low, high
