"""Numbers that decide claims about edits of weights; the runs are those of `weights`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steerscope.claims.measures.measure import Measured, measure, of_items
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
    items = []
    for run in runs:
        table, effect, roles = run.table(), effect_of(run), read_roles(run)
        for target, mine in roles.groupby("target"):
            shifts = target_shifts(table, effect, "test", str(target))
            (edit,) = mine.cell[mine.role == EDIT]
            controls = mine.cell[mine.role.isin([CONTROL, ELSEWHERE])]
            best = shifts.loc[shifts.index.intersection(controls)].mean(axis=1).idxmax()
            items.append((shifts.loc[edit] - shifts.loc[best]).dropna().to_numpy(float))
    if not items:
        raise RunError("no edit was within the limits of its plan, so that none can be compared.")
    return of_items(np.concatenate(items), effect_of(runs[0]).unit)
