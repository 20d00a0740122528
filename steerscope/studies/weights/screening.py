"""Many edits at the price of a few forward passes: where each one leads, before anything is written.

Whether a continuation went over to a target is one bit. The log-odds of going over, teacher-forced,
say the same far more precisely, so that a sweep may choose by them; what is stated is generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.engine.score import preferences
from steerscope.errors import ContrastError
from steerscope.judges.effects import Effect
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.steering.interventions import Cell
from steerscope.texts.contrasts import ContrastSet
from steerscope.weights.crossing import crossed

CROSSED, WHOLE = "crossed pairs", "whole pairs"
Texts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Screen:
    """Pairs of texts of which the first leads to a target and the second does not.

    Attributes:
        kind: `crossed pairs`, a beginning in the other class continued in either, or `whole pairs`.
        texts: the pairs by target.
    """

    kind: str
    texts: Mapping[str, Texts]

    def leanings(
        self, model: LensModel, cells: Sequence[Cell], *, progress: Track = silent
    ) -> dict[str, Float[Tensor, "cell pair"]]:
        """Log-odds of going over to each target, in nats."""
        pairs = [pair for part in self.texts.values() for pair in part]
        once = list(dict.fromkeys((min(pair), max(pair)) for pair in pairs))
        places = {pair: place for place, pair in enumerate(once)}
        found = preferences(model, once, cells, progress=progress)
        leanings = {}
        for target, texts in self.texts.items():
            columns = [places[min(pair), max(pair)] for pair in texts]
            signs = torch.tensor([1.0 if pair[0] < pair[1] else -1.0 for pair in texts])
            leanings[target] = found[:, columns] * signs
        return leanings


def screen_of(pairs: ContrastSet, effect: Effect, at_most: int) -> Screen:
    """The screen of a set of pairs, at most so many for each target.

    Where continuations are read for a flip the pairs are crossed, if any of them can be; a model
    that goes on as it began has nothing to turn round in a whole pair.
    """
    kind, begun_negative, begun_positive = WHOLE, pairs.pairs, pairs.pairs
    if effect.is_share:
        with suppress(ContrastError):  # texts of different lengths cannot be crossed
            turned = crossed(pairs).pairs
            kind, begun_negative, begun_positive = CROSSED, turned[0::2], turned[1::2]
    return Screen(
        kind,
        {
            effect.positive: tuple((p.positive, p.negative) for p in begun_negative[:at_most]),
            effect.negative: tuple((p.negative, p.positive) for p in begun_positive[:at_most]),
        },
    )
