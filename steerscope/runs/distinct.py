"""Which items of a run say the same thing twice, so that no interval counts them as two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from steerscope.runs.results import Run
from steerscope.statistics import Estimate, by_cluster, distinct_difference, distinct_mean

GROUPS = "groups"
PAIRS, PROMPTS = "pairs", "prompts"
_OF_PAIRS = frozenset({"preference", "nll"})
_NULL = "null"  # a split with the prompts of the test split


@dataclass(frozen=True)
class Groups:
    """The distinct contrast of each pair and the distinct prompt of each prompt, by split.

    Attributes:
        labels: for each split, `pairs` and `prompts`, or a metric that has items of its own: the number of
            the group of each item. Empty for runs from before groups were kept, in which every item counts
            as its own.
    """

    labels: Mapping[str, Mapping[str, Mapping[int, int] | Sequence[int]]] = field(
        default_factory=dict
    )

    @property
    def known(self) -> bool:
        """Whether the run says what is distinct."""
        return bool(self.labels)

    def of(self, split: str, metric: str, items: Sequence[int]) -> Int[np.ndarray, " item"]:
        """The group of each of these items, which are pairs for a metric of pairs, else prompts."""
        kind = PAIRS if metric in _OF_PAIRS else PROMPTS
        here = self.labels.get("test" if split == _NULL else split, {})
        labels = here.get(metric, here.get(kind))
        return np.asarray([labels[i] if labels else i for i in map(int, items)], dtype=int)

    def mean(
        self, values: pd.Series, split: str, metric: str, *, share: bool = False, seed: int = 0
    ) -> Estimate:
        """Mean over items with an interval over the distinct ones, as `distinct_mean`."""
        labels = self.of(split, metric, list(values.index))
        return distinct_mean(values.to_numpy(float), labels, share=share, seed=seed)

    def mean_kl(self, nats: pd.Series, split: str) -> Estimate:
        """Mean KL over prompts with an interval over the distinct ones; none is negative."""
        found = self.mean(nats, split, "kl")
        return replace(found, low=max(0.0, found.low)) if found.low < 0 else found

    def difference(
        self, values: pd.Series, split: str, metric: str, *, share: bool = False, seed: int = 0
    ) -> Estimate:
        """Mean of paired differences with an interval over the distinct ones, as `distinct_difference`."""
        labels = self.of(split, metric, list(values.index))
        return distinct_difference(values.to_numpy(float), labels, share=share, seed=seed)

    def distinct(
        self, values: pd.Series, split: str, metric: str
    ) -> Float[np.ndarray, " distinct"]:
        """One number per distinct item, of which the mean is that over the items; NaN items are left out."""
        return by_cluster(values.to_numpy(float), self.of(split, metric, list(values.index)))


NO_GROUPS = Groups()


def groups_of(run: Run) -> Groups:
    """What of a run's items is distinct, as far as it says."""
    return Groups(run.provenance.get(GROUPS, {}))
