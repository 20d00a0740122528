"""Controls of an edit at the KL of the edit: of the same size is not of the same consequence."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from steerscope.engine.score import mean_kl, with_kl
from steerscope.engine.searches import sizes_at_kl
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.steering.interventions import Cell
from steerscope.weights.controls import Control, scaled
from steerscope.weights.weight_edit import WeightEdit

_PROMPTS = 16
_TOLERANCE = 0.05  # of the KL
_FARTHEST = 64.0  # times longer or shorter than the edit
_log = logging.getLogger(__name__)


def controls_at_kl(
    model: LensModel,
    controls: Sequence[WeightEdit],
    edit: WeightEdit,
    prompts: Sequence[TextOrIds],
) -> list[WeightEdit]:
    """Controls with their change made longer or shorter until the KL from plain is that of the edit.

    A control that has that KL as it is, or that no factor up to 64 and down to a 64th brings there,
    is left out; there are none where the edit has no KL.
    """
    asked = with_kl(model, prompts)[:_PROMPTS]
    if not asked:
        return []
    starts = [
        max(part.scale for _, part in control.parts if isinstance(part, Control))
        for control in controls
    ]

    def nats(wanted: Sequence[tuple[int, float]]) -> list[float]:
        cells = [Cell((scaled(controls[i], scale),)) for i, scale in wanted]
        return mean_kl(model, asked, cells).tolist()

    target = float(mean_kl(model, asked, [Cell((edit,))]))
    scales = sizes_at_kl(nats, starts, target, tolerance=_TOLERANCE, farthest=_FARTHEST)
    for control, scale in zip(controls, scales, strict=True):
        if math.isnan(scale):
            _log.info("no control at its KL: %s does not reach %g nats", control, target)
    return [
        scaled(control, scale)
        for control, start, scale in zip(controls, starts, scales, strict=True)
        if math.isfinite(scale) and scale != start
    ]
