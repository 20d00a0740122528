"""What a text must be besides flipped: within the spread of the model's own plain texts.

Tables in, tables and numbers out; no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from steerscope.judges.effects import IMPLAUSIBLE, IMPLAUSIBLE_WHEN_ASKED, LIKELIHOODS, Limit
from steerscope.runs.distinct import Groups
from steerscope.statistics import (
    Estimate,
    clustered_difference,
    clustered_mean,
    clustered_share,
)
from steerscope.studies.steering.verdict import Cost

_SPREADS = 2  # standard deviations of plain texts that the mean may get worse
_BEYOND = 3  # standard deviations of plain texts from which one text counts as damaged
_LEAST = 0.05  # of a share or a ratio: less than that is never a limit
PLAIN = "plain"


def per_prompt(table: pd.DataFrame, metric: str, split: str) -> pd.DataFrame:
    """One row per condition, one column per prompt or pair, of one metric on one split."""
    rows = table[(table.metric == metric) & (table.split == split)]
    return rows.pivot(index="cell", columns="prompt", values="value")


def estimate(
    values: pd.Series, groups: Groups, split: str, metric: str, *, share: bool
) -> Estimate:
    """Mean of one metric over items with an interval over distinct ones; NaN items are left out."""
    labels = groups.of(split, metric, list(values.index))
    interval = clustered_share if share else clustered_mean
    return interval(values.to_numpy(float), labels)


def difference(
    values: pd.Series, groups: Groups, split: str, metric: str, *, share: bool
) -> Estimate:
    """Mean of paired differences with an interval over distinct items, as `clustered_difference`."""
    labels = groups.of(split, metric, list(values.index))
    return clustered_difference(values.to_numpy(float), labels, share=share)


def allowed(plain: pd.Series, limit: Limit) -> float:
    """How much worse a metric may get on the mean: two standard deviations of the plain texts.

    At most what the judge allows, and of a share at least 5 points, of a ratio 0.05. NaN without two plain
    texts.
    """
    spread = _SPREADS * float(plain.std(ddof=1))
    least = 0.0 if limit.unit == "nats" else _LEAST
    return float(np.clip(spread, least, limit.worsening)) if spread == spread else float("nan")


def undamaged(
    values: Mapping[str, pd.DataFrame],
    limits: Sequence[Limit],
    plain: str,
    likely_as: str | None = None,
) -> pd.DataFrame:
    """Whether each text is such as the model writes without steering, by cell and prompt.

    A text is damaged where a metric is worse than the mean of the plain texts by more than three of
    their standard deviations, a ratio by 0.1 at least; a yes or no is where it has the worse value. A metric
    without a number damages too: what was not measured is not good. Only a text of fewer than two tokens
    has no ratio and repeats nothing, and a plain text need not be one that the model writes when it is asked.
    Nor need a text that is as likely as the plain ones be as likely as those under `likely_as`.

    Args:
        values: for each metric, one row a cell and one column a prompt.
        limits: the metrics to look at, and which way is worse.
        plain: the row of the plain texts.
        likely_as: the row of the texts that say how unlikely a text may be; None for the plain ones.
    """
    if likely_as is None or likely_as == plain:
        return _all_within(values, limits, plain, plain)
    as_asked = _all_within(values, limits, plain, likely_as)
    unasked = [limit for limit in limits if limit.metric != IMPLAUSIBLE_WHEN_ASKED.metric]
    if not any(limit.metric in LIKELIHOODS and limit.metric in values for limit in unasked):
        return as_asked
    as_plain = _all_within(values, unasked, plain, plain).reindex_like(as_asked)
    return as_asked | as_plain.eq(True)  # noqa: FBT003 - a value of the table


def _all_within(
    values: Mapping[str, pd.DataFrame], limits: Sequence[Limit], plain: str, likely_as: str
) -> pd.DataFrame:
    """Whether each text is within the bounds of all limits, a likelihood within that of the texts `likely_as`."""
    whole: pd.DataFrame | None = None
    for limit in limits:
        normal = likely_as if limit.metric in LIKELIHOODS else plain
        if limit.metric not in values or normal not in values[limit.metric].index:
            continue
        good = _within(_complete(values[limit.metric], limit), limit, normal)
        if limit.metric == IMPLAUSIBLE_WHEN_ASKED.metric:
            good.loc[plain] = True
        whole = good if whole is None else whole & good.reindex_like(whole)
    return pd.DataFrame() if whole is None else whole


def _within(rows: pd.DataFrame, limit: Limit, normal: str) -> pd.DataFrame:
    """Whether each text is within the bound of one limit, told from the texts of the row `normal`."""
    bad = rows if limit.higher_is_worse else -rows
    mine = bad.loc[normal].dropna()
    binary = set(np.unique(rows.to_numpy(float)[~np.isnan(rows.to_numpy(float))])) <= {0.0, 1.0}
    if binary:
        bound = 0.0 if limit.higher_is_worse else -1.0
    else:
        least = 2 * _LEAST if limit.unit == "ratio" else 0.0
        beyond = max(_BEYOND * float(mine.std(ddof=1)), least) if len(mine) > 1 else -np.inf
        bound = float(mine.mean()) + beyond
    return bad <= bound + 1e-12


def _complete(values: pd.DataFrame, limit: Limit) -> pd.DataFrame:
    """The values of a metric, of which a ratio is 1 where there was nothing to divide."""
    return values.fillna(1.0) if limit.unit == "ratio" else values


def successes(
    flipped: pd.DataFrame,
    values: Mapping[str, pd.DataFrame],
    limits: Sequence[Limit],
    plain: str,
    likely_as: str | None = None,
) -> pd.DataFrame:
    """Flipped and undamaged, by cell and prompt; a text that could not be read is no success.

    Prompts that were not asked under a condition stay NaN.

    Args:
        flipped: the share effect, one row a cell.
        values: see `undamaged`.
        limits: see `undamaged`.
        plain: see `undamaged`.
        likely_as: see `undamaged`.
    """
    whole = undamaged(values, limits, plain, likely_as)
    whole = whole.reindex(index=flipped.index, columns=flipped.columns)
    good = (flipped.fillna(0.0) > 0) & ~whole.eq(False)  # noqa: FBT003 - a value of the table
    return good.astype(float)


class Costs:
    """What conditions of one split cost against plain on the same prompts.

    Only metrics that the run measured have a cost; one that it did not is not spoken of, nor is the
    likelihood under the model that is asked where a part of the texts, those from before, lacks it. The
    likelihood of a text costs against that of the texts under `likely_as`.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        split: str,
        limits: Sequence[Limit],
        groups: Groups,
        likely_as: str = PLAIN,
    ) -> None:
        self.split, self.groups, self.likely_as = split, groups, likely_as
        here = table[table.split == split]
        there = set(here.metric)
        if likely_as == PLAIN or not _all_when_asked(here):
            there.discard(IMPLAUSIBLE_WHEN_ASKED.metric)
        self.limits = [limit for limit in limits if limit.metric in there]
        self.values = {
            limit.metric: _complete(per_prompt(table, limit.metric, split), limit)
            for limit in self.limits
        }
        asked = here[here.metric.isin(there & {limit.metric for limit in limits})]
        self.asked = asked.drop_duplicates(["cell", "prompt"]).groupby("cell").prompt.agg(list)

    def counted(self, flipped: pd.DataFrame) -> pd.DataFrame:
        """Which texts are flipped and undamaged, by condition and prompt, NaN where it was not asked."""
        found = successes(flipped, self.values, self.limits, PLAIN, self.likely_as)
        asked = {
            cell: found.columns.isin(self.asked.get(cell, list(found.columns)))
            for cell in found.index
        }
        return found.where(pd.DataFrame(asked, index=found.columns).T)

    def of(self, cell: str) -> list[Cost]:
        """The costs of one condition, in the order of the limits."""
        found = (self._cost(limit, cell) for limit in self.limits)
        return [cost for cost in found if cost is not None]

    def less_likely(self, cell: str) -> list[Cost]:
        """What the likelihood of a condition costs against texts that were asked for; none without."""
        if self.likely_as == PLAIN:
            return []
        return [cost for cost in self.of(cell) if cost.metric in LIKELIHOODS]

    def _cost(self, limit: Limit, cell: str) -> Cost | None:
        values = self.values[limit.metric]
        normal = self.likely_as if limit.metric in LIKELIHOODS else PLAIN
        if normal not in values.index or cell not in self.asked.index:
            return None
        prompts = self.asked[cell]
        plain = values.loc[normal].reindex(prompts)
        steered = (
            values.loc[cell].reindex(prompts) if cell in values.index else plain * float("nan")
        )
        share = limit.is_share
        worse = (steered - plain) * (1 if limit.higher_is_worse else -1)
        at = (self.groups, self.split, limit.metric)
        binary = share and set(
            values.to_numpy(float).ravel()[~np.isnan(values.to_numpy(float).ravel())]
        ) <= {0.0, 1.0}
        return Cost(
            limit.metric,
            limit.words,
            estimate(plain, *at, share=binary),
            estimate(steered, *at, share=binary),
            is_share=share,
            worse=difference(worse, *at, share=share),
            limit=allowed(values.loc[normal], limit),
            asked=len(prompts),
            read=int(steered.notna().sum()),
            signs=int((steered > 0 if limit.higher_is_worse else steered < 1).sum()) * share,
        )


def _all_when_asked(rows: pd.DataFrame) -> bool:
    """Whether every text with a likelihood has one under the model that is asked too, but the plain ones."""
    known = rows[rows.value.notna() & (rows.cell != PLAIN)]
    plain, asked = (
        pd.MultiIndex.from_frame(known.loc[known.metric == limit.metric, ["cell", "prompt"]])
        for limit in (IMPLAUSIBLE, IMPLAUSIBLE_WHEN_ASKED)
    )
    return bool(plain.isin(asked).all())


def with_statuses(table: pd.DataFrame) -> pd.DataFrame:
    """The rows, and for runs from before empty and unread texts were counted, those read off statuses."""
    if "empty" in set(table.metric) or not {"empty", "unread"} & set(table.status):
        return table
    base = table[table.metric == "degenerate"]
    derived = [
        base.assign(metric=status, value=(base.status == status).astype(float), unit="share")
        for status in ("empty", "unread")
    ]
    return pd.concat([table, *derived], ignore_index=True)
