"""The cells of a task as steerscope's own."""

from __future__ import annotations

from common import Task

import steerscope as ss
from steerscope.doses import Scale
from steerscope.extraction.activations import Provenance


def cells(task: Task, model: ss.LensModel) -> list[ss.Cell]:
    """One steering of the output of a block, at the task's positions, for each cell."""
    origin = Provenance(model.name, model.fingerprint, "benchmark", "", "", 0, versions={})

    scope = ss.Scope.generated() if task.spares_prompts else ss.Scope.everywhere()

    def cell(layer: int, dose: float) -> ss.Cell:
        site = ss.Site("resid_post", layer)
        direction = ss.Direction(site, task.vector(layer), Scale(1.0, 1.0), "random", origin)
        return ss.Cell((ss.Steering(direction, ss.Dose(dose, "absolute"), scope=scope),))

    return [cell(layer, dose) for layer, dose in task.cells]
