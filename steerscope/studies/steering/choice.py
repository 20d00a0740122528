"""The choice: the condition with the largest effect among those that break no limit, and its p."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from steerscope.errors import BadValueError, NotFiniteError
from steerscope.judges.effects import KL_WRITTEN, Effect
from steerscope.runs.distinct import NO_GROUPS, Groups
from steerscope.statistics import BestCell, Estimate, best_cell, max_mean
from steerscope.statistics.clusters import sums_by_cluster
from steerscope.studies.steering.responses import responses, summarise
from steerscope.studies.steering.success import PLAIN

MARGIN = 0.02  # of the largest effect, within which the cheapest condition is taken
_ENOUGH = 0.5  # of the effect, for which a condition that is surely undamaged is taken


@dataclass(frozen=True)
class SweetSpot:
    """The layer and dose that a sweep chose, and why.

    Attributes:
        cell: the key of the condition.
        layer: the layer.
        dose_natural: the dose, in natural units.
        dose_relative: the same in relative units.
        dose_absolute: the same as a length.
        effect: effect on the split that chose.
        p_corrected: chance that a sweep without any effect has a best condition this good; where
            `held_out`, that held-out items, which chose nothing, show one this good without any effect. NaN
            where there are fewer than two distinct items, which say nothing of chance.
        n_cells: conditions compared.
        broken: whether it breaks a limit, which it may where no condition within them is above plain.
    """

    cell: str
    layer: int
    dose_natural: float
    dose_relative: float
    dose_absolute: float
    effect: Estimate
    p_corrected: float
    n_cells: int
    broken: bool
    held_out: bool = False


def sweet_spot(
    table: pd.DataFrame,
    effect: Effect,
    method: str,
    *,
    split: str = "select",
    groups: Groups = NO_GROUPS,
    stated: Collection[str] = (),
    summary: pd.DataFrame | None = None,
    tried: int | None = None,
) -> SweetSpot:
    """The condition with the largest effect among those that break no limit, towards positive.

    Of all conditions whose effect is within 2 % of the best, the one with the smallest KL on the tokens that
    it writes is taken, or on the prompts where that was not measured. Choose on one split, state on another:
    `stated` are the conditions that were, among which the choice of a run from before, by another rule, is made
    again where it is not among them. `summary` is what `summarise` says of the split, where that was asked
    already. After a race, in which any of `tried` conditions could have come to be measured on all prompts, no
    p of the split that chose is fair: it is that of the choice on the test split, or while there is none the p
    of the choice times `tried`, which holds however the others fell behind (Bonferroni).

    Raises:
        BadValueError: no positive dose was measured.
        NotFiniteError: no condition at a positive dose has logits that are numbers.
    """
    if summary is None:
        summary = summarise(table, effect, split, groups=groups)
    if not ((summary.method == method) & (summary.dose_natural > 0)).any():
        raise BadValueError(
            f"no positive dose of {method} was measured, and the choice is made among those."
        )
    candidates = _candidates(summary, method)
    if candidates.empty:
        raise NotFiniteError(
            f"no condition of {method} has an effect that is a number; lower the doses, or use a "
            "wider number format."
        )
    chosen = _best(summary, method)
    others = summary[summary.cell.isin(stated)]
    if len(others) and chosen.cell not in set(stated):
        chosen = _best(others, method)
    held_out = bool(tried) and chosen.cell in set(table.cell[table.split == "test"])
    compared = [chosen.cell] if tried else list(dict.fromkeys([*candidates.cell, chosen.cell]))
    times = 1 if held_out or not tried else tried
    p_values = corrected_p(table, effect, compared, "test" if held_out else split, groups)
    return SweetSpot(
        cell=str(chosen.cell),
        layer=int(chosen.layer),
        dose_natural=float(chosen.dose_natural),
        dose_relative=float(chosen.dose_relative),
        dose_absolute=float(chosen.dose_absolute),
        effect=Estimate(chosen.effect, chosen.low, chosen.high, int(chosen.n)),
        p_corrected=float(np.minimum(1.0, p_values[chosen.cell] * times)),
        n_cells=max(len(candidates), tried or 0),
        broken=bool(chosen.broken),
        held_out=held_out,
    )


def _best(summary: pd.DataFrame, method: str) -> pd.Series:
    """The condition of a method that is chosen among these."""
    pool = eligible(summary, method)
    best = pool.effect.max()
    near = pool[pool.effect >= best - MARGIN * abs(best)]
    return near.loc[cheapest(near).idxmin()]


def cheapest(rows: pd.DataFrame) -> pd.Series:
    """The KL that a tie is broken by: on the written tokens, else on those of the prompts."""
    written = rows.get(KL_WRITTEN, rows.kl_nats)
    return written if written.notna().all() else rows.kl_nats


def _candidates(summary: pd.DataFrame, method: str) -> pd.DataFrame:
    """Conditions of a method towards positive, measured on all prompts, with an effect.

    In a race the others have fallen behind. Where no text of any could be read, all without one.
    """
    mine = summary[(summary.method == method) & (summary.dose_natural > 0)]
    if "asked" in mine:
        mine = mine[mine.asked == mine.asked.max()]
    measured = mine[mine.effect.notna()]  # without a number where the logits were none
    if len(measured):
        return measured
    unread = mine[mine.kl_nats.notna()]
    return unread.assign(effect=0.0, low=math.nan, high=math.nan, broken=True)


def eligible(summary: pd.DataFrame, method: str) -> pd.DataFrame:
    """The conditions among which the choice is made.

    Those whose costs are within the limits with their whole intervals, unless that gives up more than
    half of the effect; then those whose mean costs are; then, if none of these has an effect above plain,
    those of all that have the most texts with an effect and undamaged.
    """
    candidates = _candidates(summary, method)
    whole = candidates[~candidates.broken]
    if nothing_within(summary, method):
        joint = candidates.get("joint", pd.Series(math.nan, candidates.index))
        if joint.isna().all():
            return candidates
        return candidates[joint >= joint.max() - MARGIN * abs(joint.max())]
    sure = whole[whole.kept] if "kept" in whole else whole
    return sure if len(sure) and sure.effect.max() >= _ENOUGH * whole.effect.max() else whole


def nothing_within(summary: pd.DataFrame, method: str) -> bool:
    """Whether no condition within the limits is above plain, on the mean."""
    candidates = _candidates(summary, method)
    whole = candidates[~candidates.broken]
    return not len(whole) or not whole.get("counts", whole.effect).max() > 0


def passed_over(
    summary: pd.DataFrame, method: str, chosen: str, smallest: float
) -> pd.Series | None:
    """The condition with the most that counts, surely an effect of interest, if another was chosen.

    Where the chosen one has a sure effect too, only what is clear of it, with the whole interval. One that fell
    behind in a race counts by what it was measured on.

    Args:
        summary: of the select split.
        method: whose conditions.
        chosen: the key of the condition that was chosen.
        smallest: the smallest effect of interest.
    """
    towards = summary[(summary.method == method) & (summary.dose_natural > 0)]
    sure = towards[towards.counts_low > smallest]
    mine = sure[sure.cell == chosen]
    more = sure[sure.counts_low > mine.counts_high.max()] if len(mine) else sure
    return None if more.empty else more.loc[more.counts.idxmax()]


def corrected_p(
    table: pd.DataFrame,
    effect: Effect,
    cells: Sequence[str],
    split: str,
    groups: Groups = NO_GROUPS,
) -> dict[str, float]:
    """P of each condition against plain, by the largest mean of them all, on their shared items."""
    return dict(zip(cells, max_mean(_gains(table, effect, cells, split, groups)), strict=True))


def _gains(
    table: pd.DataFrame, effect: Effect, cells: Sequence[str], split: str, groups: Groups
) -> Float[np.ndarray, "cell item"]:
    """Effect of each condition above plain on the distinct items that all of them share.

    A text that could not be read shows nothing, so that of a share it counts as 0.
    """
    effects = responses(table, effect, split)
    chosen = effects.loc[list(cells)]
    if effect.is_share:
        here = (table.split == split) & (table.metric == effect.metric)
        asked = table.prompt[here & table.cell.isin(list(cells))].unique()
        chosen = chosen[sorted(asked)].fillna(0.0)
    differences = chosen.sub(effects.loc[PLAIN], axis=1) if effect.is_share else chosen
    differences = differences.dropna(axis=1)
    labels = groups.of(split, effect.metric, list(differences.columns))
    return sums_by_cluster(differences.to_numpy(float), labels)


def best_of_sweep(
    table: pd.DataFrame,
    effect: Effect,
    method: str,
    *,
    split: str = "select",
    groups: Groups = NO_GROUPS,
    summary: pd.DataFrame | None = None,
) -> BestCell:
    """Gain over plain of the condition that `sweet_spot` chooses, corrected for the choice.

    What counts as broken is taken from all prompts. `summary` is as in `sweet_spot`.

    Raises:
        TooLittleDataError: fewer than four distinct items that all conditions share.
    """
    if summary is None:
        summary = summarise(table, effect, split, groups=groups)
    pool = eligible(summary, method)
    pool = pool.loc[cheapest(pool).sort_values(kind="stable").index]
    return best_cell(_gains(table, effect, list(pool.cell), split, groups), margin=MARGIN)
