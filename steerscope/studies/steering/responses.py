"""From the rows of a run to what a reader wants to know: sweeps, sweet spots, dose-response.

Everything here takes a table and returns a table or a small value; no model, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from steerscope.judges.effects import DEGENERATE, KL_WRITTEN, Effect
from steerscope.runs.distinct import NO_GROUPS, Groups
from steerscope.runs.overflows import as_far_as_known, lost_cells
from steerscope.statistics import (
    Correlation,
    Estimate,
    MixedSlope,
    crossing,
    curve_correlation,
    mixed_slope,
)
from steerscope.studies.steering.likelihood import likely_as
from steerscope.studies.steering.success import (
    PLAIN,
    Costs,
    difference,
    estimate,
    per_prompt,
)
from steerscope.studies.steering.verdict import Cost


def conditions(table: pd.DataFrame) -> pd.DataFrame:
    """What each cell is: one row per cell with its labels, the plain one included."""
    labels = [
        "cell", "method", "stream", "layer", "head", "operator", "scope",
        "dose_absolute", "dose_relative", "dose_natural", "seed",
    ]  # fmt: skip
    cells = table[~table.cell.str.startswith("diagnostic ")]
    return cells[labels].drop_duplicates("cell").set_index("cell")


def responses(table: pd.DataFrame, effect: Effect, split: str) -> pd.DataFrame:
    """Effect of each condition on each prompt: a share, or a shift from plain along the dose."""
    values = per_prompt(table, effect.metric, split)
    if effect.is_share:
        return values
    signs = np.sign(conditions(table).loc[values.index, "dose_natural"].fillna(1.0))
    signs[signs == 0] = 1.0
    return values.sub(values.loc[PLAIN], axis=1).mul(signs, axis=0)


def known_responses(table: pd.DataFrame, effect: Effect, split: str) -> pd.DataFrame:
    """`responses`, NaN on every prompt of a condition of which some logits are not finite."""
    here = (table.split == split) & (table.metric == effect.metric)
    return responses(as_far_as_known(table[here]), effect, split)


def summarise(
    table: pd.DataFrame,
    effect: Effect,
    split: str,
    *,
    groups: Groups = NO_GROUPS,
) -> pd.DataFrame:
    """One row per steered condition: labels, effect with interval, KL, costs against plain, broken.

    Intervals are over distinct items; of a condition of which some logits are not finite no effect is known.
    `joint` is the share of the texts that are flipped and undamaged, NaN
    of log-odds, and `counts` what of the effect counts above plain, with `_low` and `_high`: of a share by the
    same texts. Costs are means of paired differences to plain on the same
    prompts, named `cost_<metric>` and positive where steering made it worse; `broken` says that one is
    over its limit, or that it was measured and is unknown for this condition; `surely_damaged` that the
    whole interval of one is over it, `kept` that the whole interval of each is within. Likelihood is compared as `likely_as` says.
    """
    effects = known_responses(table, effect, split)
    labels = conditions(table)
    kl, written = (_kl(table, split, metric) for metric in (None, KL_WRITTEN))
    normal = likely_as(table, effect, split, groups)
    costs = Costs(table, split, effect.held_to, groups, normal)
    asked = _asked(table, effect, split)
    counted = costs.counted(effects) if effect.is_share else effects
    beside = counted.reindex([PLAIN]).loc[PLAIN]
    at, rows = (groups, split, effect.metric), []
    for cell in effects.index.drop(PLAIN, errors="ignore"):
        found = estimate(effects.loc[cell], *at, share=effect.is_share)
        gains = counted.loc[cell] - beside if effect.is_share else counted.loc[cell]
        more = difference(gains, *at, share=effect.is_share)
        row = {"cell": cell, **labels.loc[cell], "effect": found.value, "low": found.low}
        row |= {
            "high": found.high,
            "n": found.n,
            "asked": asked[cell],
            "kl_nats": kl.get(cell, math.nan),
            "joint": float(counted.loc[cell].mean()) if effect.is_share else math.nan,
            "counts": more.value,
            "counts_low": more.low,
            "counts_high": more.high,
        }
        row |= {KL_WRITTEN: written.get(cell, math.nan)}
        paid = costs.of(cell)
        over = [c.metric for c in paid if c.is_broken]
        unknown = [f"{c.metric} unknown" for c in paid if c.is_unknown]
        row |= {f"cost_{c.metric}": c.worse.value for c in paid}
        row |= {"damage": _worst(paid)}
        row |= {"surely_damaged": any(c.is_surely_broken for c in paid)}
        row |= {"broken": bool(over or unknown), "kept": all(c.is_kept for c in paid)}
        rows.append(row | {"over": ", ".join([*over, *unknown])})
    return pd.DataFrame(rows)


def _worst(paid: Sequence[Cost]) -> float:
    """The largest cost as a share of its limit; NaN where one is unknown and no other is over its own."""
    shares = [cost.share_of_limit for cost in paid]
    known = max((share for share in shares if not math.isnan(share)), default=math.nan)
    return known if known > 1 or not any(map(math.isnan, shares)) else math.nan


def _asked(table: pd.DataFrame, effect: Effect, split: str) -> dict[str, int]:
    """How many prompts each condition was asked; of log-odds, which all have on every pair, as many as it wrote to."""
    here = table[table.split == split]
    written = here[here.metric == DEGENERATE.metric]
    counted = here[here.metric == effect.metric]
    everyone = counted.groupby("cell").size()
    if effect.is_share or written.empty:
        return everyone.to_dict()
    return written.groupby("cell").size().reindex(everyone.index, fill_value=0).to_dict()


def _kl(table: pd.DataFrame, split: str, metric: str | None) -> dict[str, float]:
    """Mean KL of each cell on the prompts it was given, or on the tokens that it wrote; none where one overflowed."""
    rows = table[table.split == split]
    rows = rows[~rows.cell.isin(lost_cells(rows))]
    if metric is None:
        return rows.groupby("cell").kl_nats.mean().to_dict()
    return rows[rows.metric == metric].groupby("cell").value.mean().to_dict()


def dose_slope(
    table: pd.DataFrame,
    effect: Effect,
    *,
    split: str,
    layer: int,
    method: str,
    groups: Groups = NO_GROUPS,
) -> MixedSlope:
    """Effect per natural unit at one layer, over its doses, each distinct item with its own slope.

    A shift in nats is taken towards the positive class at every dose, and plain is dose 0. Of a share
    the positive doses count alone: the negative ones are measured on prompts of the other class.

    Raises:
        TooLittleDataError: too few prompts or doses, or values on a line.
    """
    labels = conditions(table)
    values = per_prompt(table, effect.metric, split)
    mine = (labels.method == method) & (labels.layer == layer)
    if effect.is_share:
        mine &= labels.dose_natural > 0
    here = values.index.intersection(labels[mine].index).insert(0, PLAIN)
    doses = labels.dose_natural.reindex(here).to_numpy(float)
    kept = values.loc[here].dropna(axis=1)
    return mixed_slope(
        kept.to_numpy(float).ravel(),
        np.repeat(np.where(here == PLAIN, 0.0, doses), kept.shape[1]),
        np.tile(groups.of(split, effect.metric, list(kept.columns)), len(here)),
    )


def dose_response(
    table: pd.DataFrame,
    effect: Effect,
    *,
    split: str,
    layer: int,
    methods: Sequence[str],
    groups: Groups = NO_GROUPS,
) -> pd.DataFrame:
    """Effect against dose at one layer for each method; seeds of a control are averaged per prompt.

    Intervals are over distinct items. Columns: method, dose_natural, effect, low, high, n, plain (effect without steering on the same
    prompts, which may be others for either sign), the largest and smallest seed mean, n_seeds, the seeds that have a
    number, and n_lost, those of which some logits are not finite: where there are such, no other number but plain is known.
    """
    here = table[(table.split == split) & (table.metric == effect.metric)]
    lost = set(lost_cells(here))
    effects, labels = known_responses(table, effect, split), conditions(table)
    at_layer = labels[(labels.layer == layer) & labels.method.isin(methods)]
    rows = []
    for (method, dose), group in at_layer.groupby(["method", at_layer.dose_natural.round(6)]):
        found = effects.loc[effects.index.intersection(group.index)]
        if found.empty:
            continue
        seeds, n_lost = found.mean(axis=1), sum(cell in lost for cell in found.index)
        # of the seeds that an overflow leaves neither a mean nor the highest is that of all
        by_prompt = found.mean(axis=0).mask(pd.Series(n_lost > 0, found.columns))
        prompts = here.prompt[here.cell.isin(found.index)] if n_lost else by_prompt.dropna().index
        binary = effect.is_share and len(found) == 1
        shown = estimate(by_prompt, groups, split, effect.metric, share=binary)
        rows.append(
            {
                "method": method,
                "dose_natural": float(dose),
                "effect": shown.value,
                "low": shown.low,
                "high": shown.high,
                "n": shown.n,
                "plain": float(effects.loc[PLAIN].reindex(prompts.unique()).mean()),
                "lowest_seed": math.nan if n_lost else float(seeds.min()),
                "highest_seed": math.nan if n_lost else float(seeds.max()),
                "n_seeds": int(seeds.notna().sum()),
                "n_lost": n_lost,
            }
        )
    columns = ["method", "dose_natural", "effect", "low", "high", "n", "plain"]
    columns += ["lowest_seed", "highest_seed", "n_seeds", "n_lost"]
    return pd.DataFrame(rows, columns=columns).sort_values(["method", "dose_natural"])


def metric_mean(
    table: pd.DataFrame,
    metric: str,
    *,
    split: str,
    cell: str,
    like: str | None = None,
    groups: Groups = NO_GROUPS,
) -> Estimate:
    """Mean of one metric under one condition over distinct items; `like` restricts it to the prompts of another."""
    values, units = per_prompt(table, metric, split), table.unit[table.metric == metric]
    if cell not in values.index:
        return Estimate(math.nan, math.nan, math.nan, 0)
    row = values.loc[cell]
    if like is not None:
        row = row[values.loc[like].notna()]
    return groups.mean(row, split, metric, share=bool(units.eq("share").all()))


def needed_doses(
    summary: pd.DataFrame, method: str, level: float, *, plain: float = 0.0
) -> pd.DataFrame:
    """Per layer, the smallest positive dose whose effect reaches `level`, interpolated; NaN if none.

    A dose that breaks a limit does not count, for what it reaches, it reaches by damage.

    Args:
        summary: as `summarise` returns it.
        method: whose conditions.
        level: in the unit of the effect.
        plain: the effect at dose 0.

    Returns:
        layer, dose_natural, largest_dose, largest_effect (of doses at which every limit is known and kept; NaN
        where there is none), largest_whole, the largest of them, and first_broken, the smallest dose at which a
        limit is broken or unknown (NaN for none).
    """
    rows = []
    chosen = summary[(summary.method == method) & (summary.dose_natural > 0)]
    for layer, group in chosen.groupby("layer"):
        effects = group.effect.where(~group.broken.astype(bool))
        start = plain if effects.notna().any() else math.nan
        rows.append(
            {
                "layer": int(layer),
                "dose_natural": crossing(
                    np.append(0.0, group.dose_natural), np.append(start, effects), level
                ),
                "largest_dose": float(group.dose_natural.max()),
                "largest_effect": float(effects.max()),
                "largest_whole": float(group.dose_natural[effects.notna()].max()),
                "first_broken": float(group.dose_natural[group.broken].min()),
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Predictor:
    """How well a per-layer diagnostic ranks the layers by measured steerability."""

    diagnostic: str
    correlation: Correlation
    values: Mapping[int, float] = field(default_factory=dict)
    effects: Mapping[int, float] = field(default_factory=dict)


def predict_layers(
    diagnostic: str, values: Mapping[int, float], effects: Mapping[int, float]
) -> Predictor:
    """Signed rank correlation of a diagnostic with the effect at the same dose, over the layers."""
    layers = sorted(set(values) & set(effects))
    x = np.array([values[i] for i in layers], dtype=float)
    y = np.array([effects[i] for i in layers], dtype=float)
    return Predictor(
        diagnostic,
        curve_correlation(x, y),
        {i: float(values[i]) for i in layers},
        {i: float(effects[i]) for i in layers},
    )
