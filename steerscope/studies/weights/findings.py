"""What weight edits gain and what they cost: the table, the choice, the front and the verdict.

Everything here takes a table of rows and returns a table or a small value; no model, no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from steerscope.errors import RunError
from steerscope.judges.effects import IMPLAUSIBLE, PREFERENCE, SHOWN_UNDAMAGED, Effect
from steerscope.runs.distinct import NO_GROUPS, Groups, groups_of
from steerscope.runs.overflows import lost_cells
from steerscope.runs.results import Run
from steerscope.statistics import Estimate, max_statistic, sums_by_cluster
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.steering.responses import PLAIN, conditions, per_prompt
from steerscope.studies.steering.success import undamaged

CAPABILITY, NATS, TOKENS = "capability", "text_nats", "text_tokens"
LEANING, KL = "leaning", "kl"
ROLES = "roles.json"
_COLUMNS = (
    "target", "effect", "low", "high", "n", "capability_change", "perplexity_ratio",
    "kl_nats", "kl_low", "kl_high", "p_corrected", "front",
)  # fmt: skip
_FEWEST = 2  # plain texts that have a spread
OBJECTIVES = ("effect", "capability_change", "perplexity_ratio")
EDIT, CONTROL, ELSEWHERE, STEERING = "edit", "control", "elsewhere", "steering"


@dataclass(frozen=True)
class Limits:
    """What an edit must do and may cost to be chosen.

    Attributes:
        capability: largest loss of capability, as a share.
        perplexity: largest ratio of the perplexity to that of the plain model.
        least_kl: nats; an edit below has done nothing, and its effect is noise.
    """

    capability: float = 0.10
    perplexity: float = 1.25
    least_kl: float = 0.01


def leaning(effect: Effect) -> Effect:
    """What the edits of a sweep are screened by, teacher-forced, in place of an effect."""
    words = f"log-odds of going over to {effect.positive}, or to {effect.negative}"
    return Effect(LEANING, "nats", words, effect.positive, effect.negative)


def towards(effect: Effect, target: str) -> str:
    """Name of the metric that counts what has gone over to a target; preferences have one for both."""
    if effect.metric == PREFERENCE.metric:
        return effect.metric
    return f"{LEANING if effect.metric == LEANING else 'to'}_{target}"


def target_shifts(table: pd.DataFrame, effect: Effect, split: str, target: str) -> pd.DataFrame:
    """Effect towards a target, condition by prompt, minus plain on the same prompt.

    Of an effect that counts undamaged texts a damaged one has gone nowhere.
    """
    values = per_prompt(table, towards(effect, target), split)
    if effect.metric == SHOWN_UNDAMAGED:
        if (
            per_prompt(table, IMPLAUSIBLE.metric, split).reindex([PLAIN]).loc[PLAIN].count()
            < _FEWEST
        ):
            return values * math.nan  # nothing can be told from damage
        whole = _undamaged(table, effect, split).reindex(values.index, columns=values.columns)
        values = values.mask(whole.eq(False) & values.notna(), 0.0)  # noqa: FBT003 - of the table
    turned = target == effect.negative and towards(effect, target) == effect.metric
    sign = -1 if turned else 1
    return sign * values.sub(values.loc[PLAIN], axis=1)


def _undamaged(table: pd.DataFrame, effect: Effect, split: str) -> pd.DataFrame:
    """Whether each text is within the spread of the plain ones, condition by prompt."""
    limits = effect.held_to
    values = {limit.metric: per_prompt(table, limit.metric, split) for limit in limits}
    return undamaged(values, limits, PLAIN)


def front_table(
    table: pd.DataFrame, effect: Effect, split: str, groups: Groups = NO_GROUPS
) -> pd.DataFrame:
    """One row per condition and target: the effect and its interval, and what it costs.

    Columns: the labels of the condition, target, effect, low, high, n (distinct items), p_corrected (max
    statistic over all rows), capability_change (NaN where nothing was written), perplexity_ratio, kl_nats with
    kl_low and kl_high (on the prompts that can go over to the target), front. A condition whose
    logits overflowed on the split has no row.
    """
    lost = lost_cells(table[table.split == split])
    labels, costs, kl = conditions(table), _costs(table, split), kl_by_prompt(table, split)
    rows, shifts = [], []
    for target in (effect.positive, effect.negative):
        found = target_shifts(table, effect, split, target).drop(PLAIN)
        for cell, values in found.iterrows():
            kept = values.dropna()
            if kept.empty or cell in lost:
                continue
            metric = towards(effect, target)
            estimate = groups.difference(kept, split, metric, share=effect.is_share)
            nats = groups.mean_kl(_kl_towards(kl.loc[cell], kept, effect), split)
            rows.append(
                {
                    "cell": cell,
                    **labels.loc[cell],
                    "target": target,
                    "effect": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                    "n": estimate.n,
                    **costs.loc[cell],
                    "kl_nats": nats.value,
                    "kl_low": nats.low,
                    "kl_high": nats.high,
                }
            )
            shifts.append(kept)
    if not rows:  # no condition but plain
        return pd.DataFrame(columns=["cell", *labels.columns, *_COLUMNS])
    found = pd.DataFrame(rows)
    found["p_corrected"] = corrected(found, shifts, partial(_labels, groups, effect, split))
    found["front"] = False
    for target in (effect.positive, effect.negative):
        mine = found.target == target
        found.loc[mine, "front"] = on_front(found[mine])
    return found


def _labels(
    groups: Groups, effect: Effect, split: str, target: str, items: pd.Index
) -> Int[np.ndarray, " item"]:
    """The number of the distinct item that each is."""
    return groups.of(split, towards(effect, target), list(items))


def corrected(
    rows: pd.DataFrame,
    shifts: Sequence[pd.Series],
    labels: Callable[[str, pd.Index], Int[np.ndarray, " item"]],
) -> Float[np.ndarray, " cell"]:
    """Max-statistic p of an effect above zero, over all rows and both targets together.

    The targets are read on different prompts, or with opposite signs; the largest over one target
    is corrected once more for there being two (Bonferroni).

    Args:
        rows: of `front_table`, with their target.
        shifts: of each row, item by item.
        labels: the number of the distinct item that each of a target is.
    """
    found = np.full(len(rows), math.nan)
    targets = rows.target.unique()
    for target in targets:
        places = np.flatnonzero(rows.target == target).tolist()
        values = pd.concat([shifts[i] for i in places], axis=1).T.dropna(axis=1)
        distinct = sums_by_cluster(values.to_numpy(float), labels(target, values.columns))
        found[places] = max_statistic(distinct)
    return np.minimum(1.0, found * len(targets))


def on_front(rows: pd.DataFrame) -> Bool[np.ndarray, " row"]:
    """Whether no other row is at least as good in effect, capability and perplexity, and better in one.

    What was not measured for all of them does not count.
    """
    signs = np.array([1.0, 1.0, -1.0])
    values = rows[list(OBJECTIVES)].to_numpy(float) * signs
    values = values[:, ~np.isnan(values).any(axis=0)]
    at_least = (values[None] >= values[:, None]).all(axis=-1)
    better = (values[None] > values[:, None]).any(axis=-1)
    return ~(at_least & better).any(axis=1)


def within(rows: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """The conditions that do something, lead to their target, and cost no more than the limits.

    A capability that was not measured is not held against a condition.
    """
    return rows[
        ~(rows.capability_change < -limits.capability)
        & (rows.perplexity_ratio <= limits.perplexity)
        & (rows.kl_nats >= limits.least_kl)
        & (rows.effect > 0)
    ]


def choose(rows: pd.DataFrame, limits: Limits, *, count: int = 1) -> pd.DataFrame:
    """For each target and method the conditions of the largest effects within the limits.

    A method of which every condition is outside them has none.
    """
    ordered = within(rows, limits).sort_values(["target", "effect"], ascending=[True, False])
    return ordered.groupby(["target", "method"]).head(count)


@dataclass(frozen=True)
class TooCostly:
    """Edits that the screen leaves, of which none is within the limits as far as capability was measured.

    Attributes:
        measured: those whose capability was.
        screened: all that lead to the target, and cost no more than the other limits.
    """

    measured: int
    screened: int


def too_costly(rows: pd.DataFrame, limits: Limits) -> dict[str, TooCostly]:
    """By target, what was screened where capability was measured of some edits alone.

    Args:
        rows: `front_table` of the select split, of the screen.
        limits: of the sweep.
    """
    edits = rows[rows.operator == "weights"]
    left = within(edits, replace(limits, capability=math.inf))
    counts = left.groupby("target").capability_change.agg(["count", "size"])
    return {
        str(target): TooCostly(int(measured), int(screened))
        for target, measured, screened in counts.itertuples(name=None)
        if 0 < measured < screened
    }


def lost_edits(table: pd.DataFrame) -> int:
    """How many edits overflowed on the split that they are chosen on, so that none of them could be."""
    return len(lost_cells(table[table.operator.eq("weights") & table.split.eq("select")]))


def kl_by_prompt(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """KL from plain on every prompt, condition by prompt, in nats."""
    measured = table[(table.split == split) & table.metric.isin((KL, "degenerate"))]
    once = measured.drop_duplicates(["cell", "prompt"])
    return once.pivot(index="cell", columns="prompt", values="kl_nats")


def _kl_towards(kl: pd.Series, kept: pd.Series, effect: Effect) -> pd.Series:
    """KL on the prompts that were read, or on all where something else was."""
    return kl.reindex(kept.index) if effect.is_share else kl


def _costs(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """Change of capability and ratio of perplexities of every condition."""
    capability = per_prompt(table, CAPABILITY, split)
    if not capability.empty:
        capability = capability.sub(capability.loc[PLAIN], axis=1)
    nats, tokens = (per_prompt(table, metric, split) for metric in (NATS, TOKENS))
    per_token = nats.sum(axis=1) / tokens.sum(axis=1)
    return pd.DataFrame(
        {
            "capability_change": capability.mean(axis=1).reindex(per_token.index),
            "perplexity_ratio": np.exp(per_token - per_token.loc[PLAIN]),
        }
    )


@dataclass(frozen=True)
class Standing:
    """An edit on the test split, against its controls and against steering at the same KL.

    Attributes:
        target: what it was to lead to.
        edit: the row of the chosen edit, as in `front_table`.
        strongest: the row of the strongest control.
        over_control: effect of the edit minus that of the strongest control, paired; the strongest is so on
            the same items, which speaks against the edit.
        p_controls: max-statistic p of being ahead of a control, the largest over controls, corrected for the two
            targets that an edit may be ahead at (Bonferroni).
        steering: the row of the steering at matched KL; None for none.
        over_steering: effect of the edit minus that of the steering, paired; NaN for none.
        other: the row of the same edit read towards the other target; None where that is only its
            sign turned round.
        lost_controls: how many more controls overflowed, of which nothing is known.
        lost_steering: whether there is a steering at the KL, of which as much is known.
        n_controls: how many controls are known.
        n_tried: edits that it was chosen among, by the screen; 0 where that is not kept. No control was chosen.
    """

    target: str
    edit: pd.Series
    strongest: pd.Series
    over_control: Estimate
    p_controls: float
    steering: pd.Series | None
    over_steering: Estimate
    other: pd.Series | None = None
    lost_controls: int = 0
    lost_steering: bool = False
    n_controls: int = 0
    n_tried: int = 0


def stand(
    table: pd.DataFrame,
    effect: Effect,
    rows: pd.DataFrame,
    roles: pd.DataFrame,
    target: str,
    groups: Groups = NO_GROUPS,
) -> Standing:
    """How the edit chosen for a target stands on the test split.

    Args:
        table: all rows of the run.
        effect: the effect.
        rows: `front_table` of the test split.
        roles: columns cell, target, role: what was measured for what, as the sweep stored it.
        target: which.
        groups: what of the items is distinct.
    """
    mine = rows[rows.target == target].set_index("cell", drop=False)
    role = roles[roles.target == target].set_index("cell").role
    lost = role[~role.index.isin(mine.index)]
    role = role.drop(lost.index)
    shifts = target_shifts(table, effect, "test", target)
    (cell,) = role.index[role == EDIT]  # known, as one control is: see `standings_of`
    controls = role.index[role.isin([CONTROL, ELSEWHERE])]
    ahead = (shifts.loc[cell] - shifts.loc[controls]).dropna(axis=1)
    labels = _labels(groups, effect, "test", target, ahead.columns)
    distinct = sums_by_cluster(ahead.to_numpy(float), labels)
    p_values = [max_statistic(row[None])[0] for row in distinct]
    metric = towards(effect, target)
    strongest = mine.loc[mine.loc[controls].effect.idxmax()]
    steered = role.index[role == STEERING]
    steering = mine.loc[steered[0]] if len(steered) else None
    over = Estimate(math.nan, math.nan, math.nan, 0)
    if steering is not None:
        gap = shifts.loc[cell] - shifts.loc[steered[0]]
        over = groups.difference(gap, "test", metric, share=effect.is_share)
    others = rows[(rows.cell == cell) & (rows.target != target)]
    return Standing(
        target,
        mine.loc[cell],
        strongest,
        groups.difference(ahead.loc[strongest.cell], "test", metric, share=effect.is_share),
        float(np.minimum(1.0, max(p_values) * rows.target.nunique())),  # of NaN NaN
        steering,
        over,
        others.iloc[0] if effect.is_share and len(others) else None,
        lost_controls=int(lost.isin([CONTROL, ELSEWHERE]).sum()),
        lost_steering=bool(lost.eq(STEERING).any()),
        n_controls=len(controls),
        n_tried=_tried(table, effect, target),
    )


def _tried(table: pd.DataFrame, effect: Effect, target: str) -> int:
    """How many edits were screened for a target."""
    screened = table[(table.split == "select") & (table.operator == "weights")]
    return int(screened[screened.metric == towards(leaning(effect), target)].cell.nunique())


def read_roles(run: Run) -> pd.DataFrame:
    """Which conditions of the test split are edits, controls or steering, for which target.

    Raises:
        RunError: the sweep has not come to its end.
    """
    try:
        rows = json.loads((run.path / ROLES).read_text())
    except FileNotFoundError:
        raise RunError(
            f"{run.path} has no {ROLES}; let the sweep of weight edits finish."
        ) from None
    return pd.DataFrame(rows, columns=["cell", "target", "role"])


def standings_of(run: Run, rows: pd.DataFrame) -> list[Standing]:
    """How the edits chosen in a run stand; `rows` is its `front_table` of the test split.

    Those of `unknown_targets` are left out.

    Raises:
        RunError: the sweep has not come to its end.
    """
    roles, effect = read_roles(run), effect_of(run)
    table, unknown = run.table(), unknown_targets(run, rows)
    targets = [t for t in roles.target.unique() if t not in unknown]
    return [stand(table, effect, rows, roles, t, groups_of(run)) for t in targets]


def unknown_targets(run: Run, rows: pd.DataFrame) -> list[str]:
    """Targets of which the chosen edit, or every control of it, overflowed on the test split."""
    unknown = []
    for target, roles in read_roles(run).groupby("target", sort=False):
        known = roles.cell.isin(rows[rows.target == target].cell)
        kinds = set(roles.role[known])
        if not known[roles.role == EDIT].all() or not kinds & {CONTROL, ELSEWHERE}:
            unknown.append(str(target))
    return unknown
