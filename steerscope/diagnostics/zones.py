"""Layer zones by what steering does there at one matched dose, not by depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from steerscope.errors import BadValueError

Zone = Literal["weak", "sweet", "rigid", "destructive"]
_COLUMNS = ("effect", "low", "high", "kl_nats")


@dataclass(frozen=True)
class ZoneLimits:
    """Where the zones end.

    Attributes:
        effect: smallest effect that counts as steering, in the unit of the effect.
        damage: largest damage that counts as none, in the unit of the damage column.
        kl: smallest KL from plain, in nats, at which the layer counts as responding at all.
    """

    effect: float
    damage: float
    kl: float


def layer_zones(
    sweep: pd.DataFrame,
    *,
    dose: float,
    limits: ZoneLimits,
    damage: str = "cost_nll_plain",
    unit: str = "dose_relative",
) -> pd.DataFrame:
    """The zone of every layer at one dose, interpolated linearly between the measured doses.

    `destructive`: more damage than the limit, whatever the effect. `sweet`: enough effect, little
    damage. `weak`: too little effect though the output moves. `rigid`: the output does not move.
    `sure` says whether the interval of the effect lies on one side of its limit. Of the damage it is
    asked where the sweep tells: a destructive layer is sure if it is `surely_damaged` at the doses
    around this one, a sweet one if all its costs are `kept` within their limits there.

    Args:
        sweep: one row per layer and dose with layer, effect, low, high, kl_nats, the dose and the
            damage; a summary of one method will do.
        dose: the matched dose, in the unit of the dose column.
        limits: where the zones end.
        damage: column of the damage, larger is worse.
        unit: column of the dose.

    Returns:
        layer, zone, the columns at the dose (effect, low, high, kl_nats in nats, the damage), sure.

    Raises:
        BadValueError: a column is missing or not finite, or a layer was not measured up to the dose.
    """
    columns = (*_COLUMNS, damage)
    missing = [c for c in ("layer", unit, *columns) if c not in sweep.columns]
    if missing:
        raise BadValueError(f"the sweep has no column {', '.join(missing)}.")
    rows = []
    for layer, group in sweep.groupby("layer"):
        ordered = group.sort_values(unit)
        doses = ordered[unit].to_numpy(float)
        if not doses[0] <= dose <= doses[-1]:
            raise BadValueError(
                f"layer {layer} was measured from {doses[0]:g} to {doses[-1]:g} {unit}, not at "
                f"{dose:g}; choose a dose that every layer has."
            )
        at = {c: float(np.interp(dose, doses, ordered[c].to_numpy(float))) for c in columns}
        if not all(map(np.isfinite, at.values())):
            raise BadValueError(f"layer {layer} has a value that is not a number at {dose:g}.")
        zone = _zone(at["effect"], at[damage], at["kl_nats"], limits)
        told = {"destructive": "surely_damaged", "sweet": "kept"}.get(zone, "")
        sure = zone == "destructive" or not at["low"] < limits.effect <= at["high"]
        if told in ordered:
            sure &= float(np.interp(dose, doses, ordered[told].to_numpy(float))) == 1.0
        rows.append({"layer": int(layer), "zone": zone, **at, "sure": sure})
    return pd.DataFrame(rows)


def _zone(effect: float, damage: float, kl: float, limits: ZoneLimits) -> Zone:
    if damage > limits.damage:
        return "destructive"
    if effect >= limits.effect:
        return "sweet"
    return "weak" if kl >= limits.kl else "rigid"
