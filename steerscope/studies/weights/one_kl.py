"""A control of an edit at the KL of the edit: of the same size is not of the same consequence."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from steerscope.engine.score import kl_from_plain
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.steering.interventions import Cell
from steerscope.weights.controls import Control, scaled
from steerscope.weights.weight_edit import WeightEdit

_PROMPTS = 16
_ROUNDS = 8
_TOLERANCE = 0.05  # of the KL
_FARTHEST = 64.0  # times longer or shorter than the edit
_log = logging.getLogger(__name__)


def control_at_kl(
    model: LensModel, control: WeightEdit, edit: WeightEdit, prompts: Sequence[TextOrIds]
) -> WeightEdit | None:
    """The control with its change made longer or shorter until its KL from plain is that of the edit.

    KL = a sᵇ gives the next factor s, with b = 2 at first and then of the last two measurements. None
    where the control has that KL as it is, where the edit has none, or where no factor up to 64 and
    down to a 64th reaches it.
    """
    asked = prompts[:_PROMPTS]

    def nats(of: WeightEdit) -> float:
        return float(kl_from_plain(model, asked, [Cell((of,))]).double().mean())

    wanted, factor, exponent = nats(edit), 1.0, 2.0
    before: tuple[float, float] | None = None
    start = max(part.scale for _, part in control.parts if isinstance(part, Control))
    for number in range(_ROUNDS):
        found = scaled(control, factor * start)
        reached = nats(found)
        if not (wanted > 0 and reached > 0):
            break
        if abs(reached - wanted) <= _TOLERANCE * wanted:
            return found if number else None
        if before is not None and before[0] != factor and before[1] != reached:
            slope = math.log(reached / before[1]) / math.log(factor / before[0])
            exponent = min(max(slope, 0.5), 8.0)
        before = factor, reached
        factor *= (wanted / reached) ** (1 / exponent)
        if not 1 / _FARTHEST <= factor <= _FARTHEST:
            break
    _log.info("no control at its KL: %s does not reach %g nats", control, wanted)
    return None
