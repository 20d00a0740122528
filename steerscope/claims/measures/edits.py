"""Numbers that decide claims about edits of weights; the runs are those of `weights`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from steerscope.claims.measures.measure import Measured, measure, of_parts, without_items
from steerscope.errors import RunError
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import Run
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.weights.findings import CONTROL, EDIT, ELSEWHERE, read_roles, target_shifts

CONTROLS = (CONTROL, ELSEWHERE)


@measure
def edit_minus_control(runs: Sequence[Run]) -> Measured:
    """Effect of the chosen edits minus that of the control that does best, on the same prompts.

    The edit is chosen on the select prompts within the limits of the plan, one for each side of the
    contrast; the controls change the weights as much, or come to the same KL, and know nothing of the
    spectrum, or make the same edit elsewhere. Each half of the distinct prompts is stated against the
    control that does best on the other half, so that the best of many is not one by its luck there. Where
    one of them overflows, which may be the best, that side is unknown. A prompt on which both sides are read
    counts once.

    Raises:
        RunError: no edit was within the limits.
    """
    if all(read_roles(run).empty for run in runs):
        raise RunError("no edit was within the limits of its plan, so that none can be compared.")
    numbers: list[Float[np.ndarray, " _"]] = []
    labels: list[Int[np.ndarray, " _"]] = []
    parts: list[Float[np.ndarray, " _"]] = []
    names: list[str] = []
    for run in runs:
        found = _by_target(run)
        items = pd.DataFrame(found).mean(axis=1)
        numbers.append(items.to_numpy(float))
        labels.append(_labels(run, items.index))
        parts += [side.to_numpy(float) for side in found.values()]
        known = any(map(len, found.values()))
        names += [run.path.name + (f" to {target}" if known else "") for target in found]
    named, unit = [run.path.name for run in runs], effect_of(runs[0]).unit
    measured = of_parts(numbers, named, unit, labels)
    return replace(measured, unknown=tuple(dict.fromkeys(without_items(parts, names))))


def _by_target(run: Run) -> dict[str, pd.Series]:
    """The differences for each side of the contrast; none where it has no edit, or that or a control overflowed."""
    table, effect, roles = run.table(), effect_of(run), read_roles(run)
    found = {}
    for target in sorted((effect.positive, effect.negative)):
        mine = roles[roles.target == target]
        found[target] = pd.Series(dtype=float)
        if len(mine):
            shifts = target_shifts(table, effect, "test", target)
            found[target] = _over_best(shifts, mine, _labels(run, shifts.columns))
    return found


def _over_best(
    shifts: pd.DataFrame, roles: pd.DataFrame, labels: Int[np.ndarray, " item"]
) -> pd.Series:
    """The edit minus a control, on the prompts that both have: each half minus the best of the other half.

    None where nothing is known of one of the controls.
    """
    (edit,) = roles.cell[roles.role == EDIT]
    controls = shifts.reindex(roles.cell[roles.role.isin(CONTROLS)].unique())
    first = np.isin(labels, list(dict.fromkeys(labels))[::2])
    found = [pd.Series(dtype=float)]
    for chosen_by, stated_on in ((first, ~first), (~first, first)):
        means = controls.loc[:, chosen_by].mean(axis=1)
        known = means.notna()
        if known.any() and not known.all():
            return pd.Series(dtype=float)
        if known.any():
            best = means.idxmax()
            found.append((shifts.loc[edit] - shifts.loc[best])[stated_on].dropna())
    return pd.concat(found)


def _labels(run: Run, items: pd.Index) -> Int[np.ndarray, " item"]:
    """The number of the distinct prompt, or contrast, that each item of the test split is."""
    return groups_of(run).of("test", effect_of(run).metric, list(items))
