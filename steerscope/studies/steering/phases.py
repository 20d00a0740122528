"""Phases of the dose: where steering does nothing yet, where it steers, where the text breaks."""

from __future__ import annotations

import pandas as pd

from steerscope.errors import BadValueError

DEAD, EFFECTIVE, COLLAPSE = "dead zone", "effective", "collapse"


def dose_phases(summary: pd.DataFrame, *, method: str, null: str = "random") -> pd.DataFrame:
    """The phase of every layer and dose of a method.

    `collapse`: a limit of damage is broken on the mean, or unknown, whatever the effect. `effective`: the interval of the
    effect lies above the upper end of every interval of the null at that layer. `dead zone`: it does
    not. A condition whose effect has no interval has no phase.

    Args:
        summary: one row per condition, as `studies.summarise` returns it.
        method: whose conditions.
        null: method of the directions that mean nothing.

    Returns:
        layer, dose_natural, phase, effect, low and threshold, in the unit of the effect.

    Raises:
        BadValueError: the method or its null was not measured at a layer.
    """
    rows = summary[summary.method == method].dropna(subset=["effect", "low"])
    thresholds = summary[summary.method == null].groupby("layer").high.max()
    missing = sorted(set(rows.layer) - set(thresholds.dropna().index))
    if rows.empty or missing:
        lacking = f"of {null} at layer {missing[0]}" if missing else f"of {method}"
        raise BadValueError(f"phases need a measurement {lacking}; sweep with controls.")
    found = rows[["layer", "dose_natural", "effect", "low"]].reset_index(drop=True)
    found["threshold"] = found.layer.map(thresholds)
    found["phase"] = DEAD
    found.loc[found.low > found.threshold, "phase"] = EFFECTIVE
    found.loc[rows.broken.to_numpy(bool), "phase"] = COLLAPSE
    return found.sort_values(["layer", "dose_natural"], ignore_index=True)
