"""Numbers that decide claims about edits of weights; the runs are those of `weights`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from steerscope.claims.measures.measure import Measured, measure, of_parts
from steerscope.errors import RunError
from steerscope.runs.results import Run
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.weights.findings import CONTROL, EDIT, ELSEWHERE, read_roles, target_shifts


@measure
def edit_minus_control(runs: Sequence[Run]) -> Measured:
    """Effect of the chosen edits minus that of the control that does best, on the same prompts.

    The edit is chosen on the select prompts within the limits of the plan, one for each side of the
    contrast; the controls change the weights as much, or come to the same KL, and know nothing of the
    spectrum, or make the same edit elsewhere. The best control is taken on the prompts on which the difference is stated,
    which speaks against the edit.

    Raises:
        RunError: no edit was within the limits.
    """
    parts: list[Float[np.ndarray, " _"]] = []
    names: list[str] = []
    for run in runs:
        found = _by_target(run)
        known = [target for target, items in found.items() if len(items)]
        parts += found.values()
        names += [run.path.name + (f" to {target}" if known else "") for target in found]
    if all(read_roles(run).empty for run in runs):
        raise RunError("no edit was within the limits of its plan, so that none can be compared.")
    measured = of_parts(parts, names, effect_of(runs[0]).unit)
    return replace(measured, unknown=tuple(dict.fromkeys(measured.unknown)))


def _by_target(run: Run) -> dict[str, Float[np.ndarray, " _"]]:
    """The differences for each side of the contrast; none where it has no edit, or that overflowed."""
    table, effect, roles = run.table(), effect_of(run), read_roles(run)
    found = {}
    for target in sorted((effect.positive, effect.negative)):
        mine = roles[roles.target == target]
        found[target] = np.empty(0)
        if len(mine):
            found[target] = _over_best(target_shifts(table, effect, "test", target), mine)
    return found


def _over_best(shifts: pd.DataFrame, roles: pd.DataFrame) -> Float[np.ndarray, " item"]:
    """The edit minus the control that does best, on the prompts that both have."""
    (edit,) = roles.cell[roles.role == EDIT]
    controls = roles.cell[roles.role.isin([CONTROL, ELSEWHERE])]
    means = shifts.loc[shifts.index.intersection(controls)].mean(axis=1).dropna()
    if means.empty:
        return np.empty(0)
    return (shifts.loc[edit] - shifts.loc[means.idxmax()]).dropna().to_numpy(float)
