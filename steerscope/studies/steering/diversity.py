"""How different the samples of one prompt are, with and without steering."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from steerscope.runs.distinct import Groups
from steerscope.statistics import Estimate
from steerscope.studies.steering.success import PLAIN, estimate, per_prompt

WORDS = {"distinct_2_samples": "distinct-2", "self_bleu": "self-BLEU"}


@dataclass(frozen=True)
class Diversity:
    """One metric of all samples of a prompt, mean over prompts.

    Attributes:
        words: its name.
        plain: without steering, on the same prompts.
        steered: with it.
    """

    words: str
    plain: Estimate
    steered: Estimate


def find_diversity(
    table: pd.DataFrame, split: str, cell: str, groups: Groups
) -> tuple[Diversity, ...]:
    """What was measured of the samples of a condition; nothing where each prompt has one text."""
    found = []
    for metric, words in WORDS.items():
        values = per_prompt(table, metric, split)
        if not {PLAIN, cell} <= set(values.index):
            continue
        asked = values.columns[values.loc[cell].notna()]
        plain, steered = (
            estimate(values.loc[c, asked], groups, split, metric, share=False)
            for c in (PLAIN, cell)
        )
        found.append(Diversity(words, plain, steered))
    return tuple(found)
