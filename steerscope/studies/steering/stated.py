"""What is stated of one condition on one split: its effect, its gain, and its rank among nulls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Int

from steerscope.errors import BadValueError
from steerscope.judges.effects import Effect
from steerscope.runs.distinct import NO_GROUPS, Groups
from steerscope.runs.results import NOT_FINITE
from steerscope.statistics import Estimate, prompts_needed, rank_p
from steerscope.studies.steering.likelihood import likely_as
from steerscope.studies.steering.responses import responses
from steerscope.studies.steering.success import PLAIN, Costs, difference, estimate
from steerscope.studies.steering.verdict import NULL_KINDS, NullRank

_NULL_METHODS = dict(zip(("null_random", "null_covariance_matched"), NULL_KINDS, strict=True))
_MOST = 100_000  # items: more is no advice
_HALF_WIDTH = 1.96  # of an interval of 95 %, in standard errors
_CLEARLY, _FEWEST = 3.0, 6  # standard errors, over so many distinct items at least


class Stated:
    """The effect of conditions on one split, with intervals over distinct items."""

    def __init__(self, table: pd.DataFrame, effect: Effect, split: str, groups: Groups) -> None:
        self.table, self.kind, self.split, self.groups = table, effect, split, groups
        self.values = responses(table, effect, split)
        normal = likely_as(table, effect, split, groups)
        self.costs = Costs(table, split, effect.held_to, groups, normal)

    @cached_property
    def success(self) -> pd.DataFrame:
        """What counts: of a share, texts that are flipped and undamaged, of all that were asked for."""
        if not self.kind.is_share:
            return self.values
        return self.costs.counted(self.values)

    @cached_property
    def could_count(self) -> pd.DataFrame:
        """Which texts of a share are read and undamaged, of all that were asked for."""
        return self.costs.counted(self.values.notna().astype(float))  # wherever it was read

    def could_count_more(self, cell: str, other: str = PLAIN) -> Estimate | None:
        """How many more texts of a condition could count than of another; None where none are read."""
        there = self.could_count.index if self.kind.is_share else ()
        if cell not in there or other not in there:
            return None
        gaps = (
            self._written(self.could_count, cell) - self._written(self.could_count, other)
        ).dropna()
        return difference(gaps, self.groups, self.split, self.kind.metric, share=True)

    def plain_could(self, cell: str) -> float:
        """Share of the plain texts that are read and undamaged, on the prompts of a condition; NaN for log-odds."""
        there = self.could_count.index if self.kind.is_share else ()
        if cell not in there or PLAIN not in there:
            return math.nan
        return float(self.could_count.loc[PLAIN][self.could_count.loc[cell].notna()].mean())

    def n_distinct(self, cell: str) -> int:
        """Distinct items that the effect of a condition was asked of."""
        if cell not in self.success.index:
            return 0
        asked = self.success.loc[cell].dropna().index
        return len(set(self.groups.of(self.split, self.kind.metric, list(asked)).tolist()))

    def n_read(self, cell: str) -> int:
        """Items on which the effect of a condition is known."""
        return int(self.values.loc[cell].notna().sum()) if cell in self.values.index else 0

    def n_rows(self, cell: str) -> int:
        """Items that the effect of a condition was asked of."""
        return int(self.success.loc[cell].notna().sum()) if cell in self.success.index else 0

    def is_lost(self, cell: str) -> bool:
        """Whether the logits of a condition are not finite somewhere."""
        return cell in self.lost

    @cached_property
    def lost(self) -> dict[str, list[int]]:
        """The items of each condition on which its logits are not finite; without those that have none."""
        here = (self.table.split == self.split) & (self.table.metric == self.kind.metric)
        rows = self.table[here & (self.table.status == NOT_FINITE)]
        return {
            str(cell): sorted(map(int, set(part))) for cell, part in rows.groupby("cell").prompt
        }

    def effect(self, cell: str) -> Estimate | None:
        """Effect of a condition, of the texts that could be read; None where it was not measured."""
        if cell not in self.values.index:
            return None
        share = self.kind.is_share
        return estimate(
            self.values.loc[cell], self.groups, self.split, self.kind.metric, share=share
        )

    def joint(self, cell: str) -> Estimate | None:
        """Share of the texts that are flipped and undamaged; None where texts are not read."""
        if not self.kind.is_share or cell not in self.success.index:
            return None
        return estimate(self.known(cell), self.groups, self.split, self.kind.metric, share=True)

    def plain_joint(self, cell: str) -> Estimate | None:
        """Share of the plain texts that count, on the prompts of a condition; None where none are read."""
        success = self.success
        if not self.kind.is_share or not {cell, PLAIN} <= set(success.index):
            return None
        mine = success.loc[PLAIN][success.loc[cell].notna()]
        return estimate(mine, self.groups, self.split, self.kind.metric, share=True)

    def gain(self, cell: str) -> Estimate | None:
        """What counts, above plain on the same items; None where it was not measured."""
        gains = self.gains(cell)
        if gains is None:
            return None
        share = self.kind.is_share
        return difference(gains, self.groups, self.split, self.kind.metric, share=share)

    def gains(self, cell: str) -> pd.Series | None:
        """`gain` item by item."""
        success = self.success
        if cell not in success.index or PLAIN not in success.index:
            return None
        mine = self.known(cell)
        return (mine - success.loc[PLAIN] if self.kind.is_share else mine).dropna()

    def known(self, cell: str) -> pd.Series:
        """What counts of a condition, NaN where its logits are not finite: it wrote nothing that could be read."""
        return self._written(self.success, cell)

    def _written(self, table: pd.DataFrame, cell: str) -> pd.Series:
        """A condition of a table, NaN where its logits are not finite."""
        mine = table.loc[cell]
        return mine.mask(mine.index.isin(self.lost.get(cell, [])))

    def anti_steered(self, cell: str) -> Estimate | None:
        """Share of the items that moved the wrong way; None where the condition was not measured.

        Of a share, texts that show the effect without steering and not with it; of log-odds, pairs
        whose shift is negative. What could not be read under both is left out.

        Source: Tan et al. 2024 (arXiv:2407.12404), anti-steerable examples.
        """
        if cell not in self.values.index or PLAIN not in self.values.index:
            return None
        mine, plain = self.values.loc[cell], self.values.loc[PLAIN]
        wrong = (plain > 0) & (mine <= 0) if self.kind.is_share else mine < 0
        read = wrong.astype(float).where(mine.notna() & plain.notna())
        return estimate(read, self.groups, self.split, self.kind.metric, share=True)

    def over(self, cell: str, others: Sequence[str]) -> Estimate | None:
        """Effect of a condition minus the mean of others, item by item; None without others, or if one overflowed."""
        there = [other for other in others if other in self.values.index]
        if cell not in self.values.index or not there or any(map(self.is_lost, there)):
            return None
        ahead = self.values.loc[cell] - self.values.loc[there].mean(axis=0)
        found = difference(
            ahead, self.groups, self.split, self.kind.metric, share=self.kind.is_share
        )
        return None if math.isnan(found.value) else found

    def needed(self, cell: str, smallest: float) -> int | None:
        """Distinct items that tell the gain from the smallest effect of interest, 4 times out of 5.

        At the gain and the spread between distinct items that were seen; None where there is none, or
        where it would take more than 100,000.
        """
        gains = self.gains(cell)
        if gains is None or not len(gains):
            return None
        labels = self.groups.of(self.split, self.kind.metric, list(gains.index))
        means = gains.groupby(labels).mean()
        spread = float(means.std(ddof=1)) if len(means) > 1 else math.nan
        return _needed(float(gains.mean()) - smallest, spread)


def needed_for(gain: Estimate, own: float, smallest: float) -> int | None:
    """`Stated.needed` of a gain that was corrected for the errors of its judge.

    How well those are known takes a part of its interval, which no number of items lessens.

    Args:
        gain: corrected, with an interval.
        own: half the width that the interval would have if the errors of the judge were known.
        smallest: effect of interest.

    Returns:
        Distinct items; None where the errors of the judge alone leave it open.
    """
    half = (gain.high - gain.low) / 2
    fixed = math.sqrt(max(0.0, half**2 - own**2))
    gap = abs(gain.value - smallest)
    if not gap > fixed:
        return None
    return _needed(math.sqrt(gap**2 - fixed**2), own / _HALF_WIDTH * math.sqrt(gain.n))


def _needed(effect: float, spread: float) -> int | None:
    try:
        found = prompts_needed(abs(effect), spread)
    except BadValueError:
        return None
    return found if found <= _MOST else None


def is_clear(ahead: pd.Series, labels: Int[np.ndarray, " item"]) -> bool:
    """Whether a difference item by item is three standard errors above zero, over six distinct items or more."""
    means = ahead.groupby(labels).mean()
    error = float(means.std(ddof=1)) / math.sqrt(len(means)) if len(means) >= _FEWEST else math.inf
    return float(means.mean()) > _CLEARLY * error


def _once(nulls: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """Rows of one condition of each null: another version may have begun the run with others, and the best counts."""
    labels = nulls.drop_duplicates("cell")
    lost = labels.cell.isin(nulls.cell[nulls.status == NOT_FINITE])  # which count as the best
    means = labels.cell.map(effects.mean(axis=1)).fillna(0.0).mask(lost, math.inf)
    best = (
        labels.assign(mean=means)
        .sort_values("mean")
        .drop_duplicates(["method", "seed"], keep="last")
    )
    return nulls[nulls.cell.isin(best.cell)]


def null_ranks(
    table: pd.DataFrame, effect: Effect, cell: str, groups: Groups = NO_GROUPS
) -> tuple[NullRank, ...]:
    """Rank of a condition's effect on the test split among the nulls of each kind.

    The effect is taken as it is, damaged texts included, so that a null is not ahead for having been
    chosen without a look at its texts, nor behind. Each null is compared on the items that it was
    stated on, which in a race are few where it is clearly behind. One whose logits are not finite counts as
    at least as good. There are none where nothing chose their places: where no pair of the screen was moved by
    any, as before the pairs counted as written for a scope.
    """
    nulls = table[(table.split == "null") & (table.metric == effect.metric)]
    if nulls.empty or _unmoved(table):
        return ()
    mine = responses(table, effect, "test")
    theirs = responses(table, effect, "null")
    nulls = _once(nulls, theirs)
    if cell not in mine.index:
        return ()
    asked = theirs.drop(index=PLAIN, errors="ignore").notna().any() | mine.loc[cell].notna()
    asked_of = {c: sorted(map(int, set(part))) for c, part in nulls.groupby("cell").prompt}
    given = {
        c: [item for item in part if asked.get(item, default=False)] for c, part in asked_of.items()
    }
    stated = mine.loc[cell]
    here = (table.split == "test") & (table.metric == effect.metric) & (table.cell == cell)
    whole = sorted(map(int, table.prompt[here].unique()))

    def distinct(part: Sequence[int]) -> int:
        return len(set(groups.of("test", effect.metric, part).tolist()))

    methods = nulls.drop_duplicates("cell").set_index("cell").method
    lost = set(nulls.cell[nulls.status == NOT_FINITE])
    found = []
    for name, words in _NULL_METHODS.items():
        cells = [c for c in methods.index[methods == name] if c in theirs.index]
        if not cells:
            continue
        # what could not be read is no effect
        values = [theirs.loc[c].reindex(given[c]).fillna(0.0) for c in cells]
        beside = [stated.reindex(given[c]).fillna(0.0) for c in cells]
        is_lost = np.array([c in lost for c in cells])
        effects = np.where(is_lost, np.nan, np.array([v.mean() for v in values], dtype=float))
        against = np.array([b.mean() for b in beside], dtype=float)
        known = np.flatnonzero(np.isfinite(effects))
        best = known[effects[known].argmax()] if len(known) else None
        fewer = [
            len(asked_of[c]) < len(whole)
            and not is_clear(b - v, groups.of("test", effect.metric, given[c]))
            for c, b, v in zip(cells, beside, values, strict=True)
        ]
        compared = [distinct(asked_of[c]) for c in cells]
        found.append(
            NullRank(
                words,
                len(effects),
                math.nan if best is None else float(effects[best]),
                rank_p(0.0, effects - against),
                int(is_lost.sum()),
                (min(compared), max(compared)),
                distinct(whole),
                int((np.array(fewer) & ~is_lost).sum()),
                math.nan if best is None else float(against[best]),
            )
        )
    return tuple(found)


def _unmoved(table: pd.DataFrame) -> bool:
    """Whether the pairs on which nulls were given a layer and a dose are as without steering under all of them."""
    screen = table[(table.split == "screen") & (table.metric == "preference")]
    plain = screen[screen.cell == PLAIN].set_index("prompt").value
    steered = screen[screen.cell != PLAIN]
    return bool(len(steered)) and bool((steered.value == steered.prompt.map(plain)).all())
