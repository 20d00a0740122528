"""What weight edits gain and what they cost: the table, the choice, the front and the verdict.

Everything here takes a table of rows and returns a table or a small value; no model, no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from steerscope.errors import RunError
from steerscope.plans import effect_of
from steerscope.results import Run
from steerscope.statistics import Estimate, bootstrap_mean, max_statistic
from steerscope.studies import PLAIN, Effect, conditions, per_prompt

CAPABILITY, NATS, TOKENS = "capability", "text_nats", "text_tokens"
ROLES = "roles.json"
OBJECTIVES = ("effect", "capability_change", "perplexity_ratio")
EDIT, CONTROL, ELSEWHERE, STEERING = "edit", "control", "elsewhere", "steering"


@dataclass(frozen=True)
class Limits:
    """What an edit may cost and still be chosen.

    Attributes:
        capability: largest loss of capability, as a share.
        perplexity: largest ratio of the perplexity to that of the plain model.
    """

    capability: float = 0.10
    perplexity: float = 1.25


def towards(effect: Effect, target: str) -> str:
    """Name of the metric that counts what has gone over to a target."""
    return f"to_{target}" if effect.is_share else effect.metric


def target_shifts(table: pd.DataFrame, effect: Effect, split: str, target: str) -> pd.DataFrame:
    """Effect towards a target, condition by prompt, minus plain on the same prompt."""
    values = per_prompt(table, towards(effect, target), split)
    sign = -1 if target == effect.negative and not effect.is_share else 1
    return sign * values.sub(values.loc[PLAIN], axis=1)


def front_table(table: pd.DataFrame, effect: Effect, split: str) -> pd.DataFrame:
    """One row per condition and target: the effect and its interval, and what it costs.

    Columns: the labels of the condition, target, effect, low, high, n, p_corrected (max statistic
    over all rows), capability_change, perplexity_ratio, kl_nats, front.
    """
    labels, costs = conditions(table), _costs(table, split)
    rows, shifts = [], []
    for target in (effect.positive, effect.negative):
        found = target_shifts(table, effect, split, target).drop(PLAIN)
        for cell, values in found.iterrows():
            kept = values.dropna()
            if kept.empty:
                continue
            estimate = bootstrap_mean(kept.to_numpy(float))
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
                }
            )
            shifts.append(kept)
    found = pd.DataFrame(rows)
    found["p_corrected"] = corrected(found, shifts)
    found["front"] = False
    for target in (effect.positive, effect.negative):
        mine = found.target == target
        found.loc[mine, "front"] = on_front(found[mine])
    return found


def corrected(rows: pd.DataFrame, shifts: Sequence[pd.Series]) -> Float[np.ndarray, " cell"]:
    """Max-statistic p of an effect above zero, over all rows and both targets together.

    The targets are read on different prompts, or with opposite signs; the largest over one target
    is corrected once more for there being two (Bonferroni).
    """
    found = np.full(len(rows), math.nan)
    targets = rows.target.unique()
    for target in targets:
        places = np.flatnonzero(rows.target == target).tolist()
        values = pd.concat([shifts[i] for i in places], axis=1).T.dropna(axis=1)
        found[places] = max_statistic(values.to_numpy(float))
    return np.minimum(1.0, found * len(targets))


def on_front(rows: pd.DataFrame) -> Bool[np.ndarray, " row"]:
    """Whether no other row is at least as good in effect, capability and perplexity, and better in one."""
    signs = np.array([1.0, 1.0, -1.0])
    values = rows[list(OBJECTIVES)].to_numpy(float) * signs
    at_least = (values[None] >= values[:, None]).all(axis=-1)
    better = (values[None] > values[:, None]).any(axis=-1)
    return ~(at_least & better).any(axis=1)


def choose(rows: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """For each target and method the condition of the largest effect within the limits.

    A method of which every condition is over a limit has none.
    """
    within = rows[
        (rows.capability_change >= -limits.capability)
        & (rows.perplexity_ratio <= limits.perplexity)
    ]
    best = within.groupby(["target", "method"]).effect.idxmax()
    return within.loc[best].sort_values(["target", "effect"], ascending=[True, False])


def _costs(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """Change of capability, ratio of perplexities and KL of every condition."""
    capability = per_prompt(table, CAPABILITY, split)
    change = capability.sub(capability.loc[PLAIN], axis=1).mean(axis=1)
    nats, tokens = (per_prompt(table, metric, split) for metric in (NATS, TOKENS))
    per_token = nats.sum(axis=1) / tokens.sum(axis=1)
    here = table[(table.split == split) & (table.metric == "degenerate")]
    return pd.DataFrame(
        {
            "capability_change": change,
            "perplexity_ratio": np.exp(per_token - per_token.loc[PLAIN]),
            "kl_nats": here.groupby("cell").kl_nats.mean(),
        }
    )


@dataclass(frozen=True)
class Standing:
    """An edit on the test split, against its controls and against steering at the same KL.

    Attributes:
        target: what it was to lead to.
        edit: the row of the chosen edit, as in `front_table`.
        strongest: the row of the strongest control.
        over_control: effect of the edit minus that of the strongest control, paired.
        p_controls: max-statistic p of being ahead of a control, the largest over controls.
        steering: the row of the steering at matched KL; None for none.
        over_steering: effect of the edit minus that of the steering, paired; NaN for none.
    """

    target: str
    edit: pd.Series
    strongest: pd.Series
    over_control: Estimate
    p_controls: float
    steering: pd.Series | None
    over_steering: Estimate


def stand(
    table: pd.DataFrame, effect: Effect, rows: pd.DataFrame, roles: pd.DataFrame, target: str
) -> Standing:
    """How the edit chosen for a target stands on the test split.

    Args:
        table: all rows of the run.
        effect: the effect.
        rows: `front_table` of the test split.
        roles: columns cell, target, role: what was measured for what, as the sweep stored it.
        target: which.
    """
    mine = rows[rows.target == target].set_index("cell", drop=False)
    role = roles[roles.target == target].set_index("cell").role
    role = role[role.index.isin(mine.index)]
    shifts = target_shifts(table, effect, "test", target)
    (cell,) = role.index[role == EDIT]
    controls = role.index[role.isin([CONTROL, ELSEWHERE])]
    ahead = (shifts.loc[cell] - shifts.loc[controls]).dropna(axis=1)
    p_values = [max_statistic(row[None])[0] for row in ahead.to_numpy(float)]
    strongest = mine.loc[mine.loc[controls].effect.idxmax()]
    steered = role.index[role == STEERING]
    steering = mine.loc[steered[0]] if len(steered) else None
    over = Estimate(math.nan, math.nan, math.nan, 0)
    if steering is not None:
        over = bootstrap_mean((shifts.loc[cell] - shifts.loc[steered[0]]).dropna().to_numpy(float))
    return Standing(
        target,
        mine.loc[cell],
        strongest,
        bootstrap_mean(ahead.loc[strongest.cell].to_numpy(float)),
        float(max(p_values)),
        steering,
        over,
    )


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

    Raises:
        RunError: the sweep has not come to its end.
    """
    roles, effect = read_roles(run), effect_of(run)
    table = run.table()
    return [stand(table, effect, rows, roles, t) for t in roles.target.unique()]


def front_in_words(found: Sequence[Standing], effect: Effect) -> list[str]:
    """The verdict, one sentence per target that some edit may be chosen for."""
    if not found:
        return ["none: every edit costs more than the limits allow."]
    lines = []
    for s in found:
        edit = s.edit
        words = (
            f"towards {s.target}: {_named(edit)} moves {_amount(edit, effect)} at "
            f"{edit.kl_nats:.2f} nats (capability {edit.capability_change:+.2f}, perplexity x"
            f"{edit.perplexity_ratio:.2f}); "
        )
        if s.p_controls < 0.05 and s.over_control.low > 0:
            words += f"it beats every control (largest p {s.p_controls:.3g}); "
        else:
            words += (
                f"it does not beat its controls: {_named(s.strongest)} moves "
                f"{_amount(s.strongest, effect)} (p {s.p_controls:.2g}); "
            )
        if s.steering is None:
            words += "no steering reaches its KL."
        else:
            gap = s.over_steering
            side = "ahead of" if gap.low > 0 else "behind" if gap.high < 0 else "level with"
            words += (
                f"it is {side} the mean difference at layer {int(s.steering.layer)} at the same KL, "
                f"which moves {_amount(s.steering, effect)} (capability "
                f"{s.steering.capability_change:+.2f}, perplexity x{s.steering.perplexity_ratio:.2f})."
            )
        lines.append(words)
    return lines


def _named(row: pd.Series) -> str:
    text = str(row.cell)
    _, _, edit = text.partition("edit=")
    return edit or f"{row.method} at layer {int(row.layer)}"


def _amount(row: pd.Series, effect: Effect) -> str:
    factor, unit = (100.0, " points") if effect.is_share else (1.0, " nats")
    return f"{factor * row.effect:+.1f}{unit} [{factor * row.low:+.1f}, {factor * row.high:+.1f}]"
