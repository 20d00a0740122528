"""From the items of a transfer to its table, the odd and even parts of each response, and words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from steerscope.judges.effects import UNDAMAGED, is_share
from steerscope.runs.distinct import NO_GROUPS, Groups, groups_of
from steerscope.runs.results import Run
from steerscope.statistics import Estimate, holm, sign_flip_p

PLAIN = "plain"
OUTCOMES = {
    "target": "half the change in the share of positive texts from -c to +c",
    "preference": "half the change in the log-odds of held-out pairs from -c to +c (nats)",
}
CONDITION = ["technique", "coefficient", "matched"]


_AGAINST = [
    "technique", "gain", "low", "high", "kl", "kl_low", "kl_high", "difference", "difference_low",
    "difference_high", "n_paired", "p", "n",
]  # fmt: skip
_MATCHED = "adapt at matched KL"
_GIVEN = "adapt"


def outcome_in_words(rows: pd.DataFrame, metric: str) -> str:
    """What an outcome is, with what becomes of damaged texts where that was told of them."""
    damage = metric == "target" and UNDAMAGED in set(rows.metric)
    return OUTCOMES[metric] + (", a damaged text as without steering" if damage else "")


def operator_of(matched: bool) -> str:
    """How a stored row says whether its coefficient was chosen by its KL."""
    return _MATCHED if matched else _GIVEN


def transfer_rows(run: Run) -> pd.DataFrame:
    """The items of a stored transfer, as `transfer` gave them.

    Raises:
        RunError: the run has no rows.
    """
    table, groups = run.table(), groups_of(run)
    rows = pd.DataFrame(
        {
            "technique": table.method,
            "coefficient": table.dose_natural,
            "matched": table.operator == _MATCHED,
            "item": table.prompt,
            "metric": table.metric,
            "value": table.value,
        }
    )
    return labelled(rows, groups) if groups.known else rows


def labelled(rows: pd.DataFrame, groups: Groups) -> pd.DataFrame:
    """The rows with a column `group`: the number of the distinct prompt or contrast that an item is."""
    by_metric = rows.groupby("metric")["item"]
    found = by_metric.transform(lambda mine: groups.of("test", str(mine.name), list(mine)))
    return rows.assign(group=found)


def distinct_in(rows: pd.DataFrame) -> Groups:
    """What of the items is distinct, as far as the rows say."""
    if "group" not in rows:
        return NO_GROUPS
    first = rows.drop_duplicates(["metric", "item"]).groupby("metric")
    return Groups({"test": {str(m): dict(zip(g["item"], g.group, strict=True)) for m, g in first}})


def _difference(groups: Groups, values: pd.Series, metric: str) -> Estimate:
    """Mean of a change over distinct items."""
    return groups.difference(values, "test", metric, share=is_share(metric))


def _half(groups: Groups, values: pd.Series, metric: str) -> Estimate:
    """Mean of halves of changes over distinct items; of shares none is more than a half."""
    whole = _difference(groups, 2 * values, metric)
    return Estimate(whole.value / 2, whole.low / 2, whole.high / 2, whole.n)


def transfer_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per condition and metric: the mean, and the paired difference from the plain model.

    Args:
        rows: of a transfer, as `transfer` returns them: one a condition, metric and item.

    Items that a metric does not tell under either condition are left out of the change.

    Returns:
        technique, coefficient, matched, metric, value, change, low, high (95 % interval of the
        change over distinct items), n (distinct items).

    Raises:
        BadValueError: what is given is no such table.
    """
    plain = rows[rows.technique == PLAIN].set_index(["metric", "item"]).value
    groups, found = distinct_in(rows), []
    for keys, group in rows.groupby([*CONDITION, "metric"], sort=False):
        values = group.set_index("item").value
        change = _difference(groups, values - plain[keys[-1]], str(keys[-1]))
        if keys[0] == PLAIN and change.n:  # it is what it is compared with
            change = Estimate(0.0, 0.0, 0.0, change.n)
        found.append(
            dict(zip([*CONDITION, "metric"], keys, strict=True))
            | {"value": float(values.mean()), "change": change.value}
            | {"low": change.low, "high": change.high, "n": change.n}
        )
    return pd.DataFrame(found)


def odd_and_even(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """How a metric answers c, split into what turns round with its sign and what does not.

    odd = (f(c) - f(-c)) / 2 and even = (f(c) + f(-c)) / 2 - f(0), paired by item: an ideal technique
    has its target in the odd part alone, and damage shows in the even part.

    Columns: technique, coefficient (> 0), and odd, even with `_low` and `_high`, n.
    """
    mine = rows[(rows.metric == metric) & ~rows.matched]
    wide = mine.pivot(index=["technique", "coefficient"], columns="item", values="value")
    plain = wide.loc[(PLAIN, 0.0)]
    groups, found = distinct_in(rows), []
    for technique, c in wide.index:
        if c <= 0 or (technique, -c) not in wide.index:
            continue
        up, down = wide.loc[(technique, c)], wide.loc[(technique, -c)]
        parts = {"odd": (up - down) / 2, "even": (up + down) / 2 - plain}
        row: dict[str, object] = {"technique": technique, "coefficient": c}
        for name, values in parts.items():
            estimate = (_half if name == "odd" else _difference)(groups, values, metric)
            row |= {name: estimate.value, f"{name}_low": estimate.low}
            row |= {f"{name}_high": estimate.high, "n": estimate.n}
        found.append(row)
    columns = ["technique", "coefficient"]
    columns += [f"{p}{end}" for p in ("odd", "even") for end in ("", "_low", "_high")] + ["n"]
    return pd.DataFrame(found, columns=columns)


def towards(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Item by item, what both matched signs of each technique gain together on a metric.

    (f(c₊) - f(c₋)) / 2 of the coefficients that reach the matched KL. One column per technique whose
    both signs reach it.
    """
    mine = rows[(rows.metric == metric) & rows.matched.astype(bool)]
    found = {}
    for technique, group in mine.groupby("technique", sort=False):
        by_sign = {
            sign: part.set_index("item").value
            for sign, part in group.groupby(np.sign(group.coefficient))
        }
        if set(by_sign) == {-1.0, 1.0}:
            found[technique] = (by_sign[1.0] - by_sign[-1.0]) / 2
    return pd.DataFrame(found)


def spent(rows: pd.DataFrame) -> pd.DataFrame:
    """KL on each measured prompt, mean over the matched signs; one column per technique, in nats."""
    mine = rows[(rows.metric == "kl") & rows.matched.astype(bool)]
    return mine.groupby(["item", "technique"]).value.mean().unstack()  # with what has no number


def against(rows: pd.DataFrame, metric: str, reference: str) -> pd.DataFrame:
    """Every technique against a reference at the matched KL, paired by item.

    Columns: technique, gain, low, high, kl, kl_low, kl_high (nats that both signs came to on the
    measured prompts, where the KL was matched on others), difference (reference minus technique),
    difference_low, difference_high, n_paired (distinct items known of both), p (sign flips of those),
    p_holm, n (distinct items of the technique). NaN for the reference's own difference.
    """
    gains, nats, groups = towards(rows, metric), spent(rows), distinct_in(rows)
    found = []
    for technique in gains:
        gain = _half(groups, gains[technique], metric)
        kl = groups.mean_kl(nats[technique], "test")
        paired, p = Estimate(math.nan, math.nan, math.nan, 0), math.nan
        if technique != reference and reference in gains:
            difference = gains[reference] - gains[technique]
            paired = _difference(groups, difference, metric)
            p = sign_flip_p(groups.distinct(difference, "test", metric))
        found.append(
            {"technique": technique, "gain": gain.value, "low": gain.low, "high": gain.high}
            | {"kl": kl.value, "kl_low": kl.low, "kl_high": kl.high}
            | {"difference": paired.value, "difference_low": paired.low}
            | {"difference_high": paired.high, "n_paired": paired.n, "p": p, "n": gain.n}
        )
    table = pd.DataFrame(found, columns=_AGAINST)
    table["p_holm"] = math.nan
    tested = table.p.notna().to_numpy()
    if tested.any():
        table.loc[tested, "p_holm"] = holm(table.p.to_numpy(float)[tested])
    return table
