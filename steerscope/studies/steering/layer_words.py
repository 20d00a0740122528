"""Which layers need the least for what is asked for, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steerscope.studies.steering.findings import Findings, items_in_words
from steerscope.studies.steering.plan import is_race

_NOT_RANKED = "Layers: not ranked"
_LAST = 0.25  # share of the layers that count as the last ones


def goal_of(f: Findings) -> tuple[str, str]:
    """What a dose is asked for: a verb, and what it is to do."""
    if not f.effect.is_share:
        return "reach", f"{f.level:+.2f} nats"
    if f.effect.is_shown:
        return "show", f"{f.effect.positive} in {100 * f.level:.0f} % of the texts"
    return "flip", "half of the prompts"


def layers_in_words(findings: Findings) -> str:
    """Which layer needs the least, and whether the last layers need more."""
    if findings.card is not None and not findings.card.tells:
        return f"{_NOT_RANKED}, since the judge cannot tell."
    said, rows = _layers_said(findings), findings.summary
    if said.startswith(_NOT_RANKED):
        return said
    mine = rows[(rows.method == findings.plan.method) & (rows.dose_natural > 0) & (rows.n > 0)]
    if (
        mine.empty or mine.layer.nunique() == 1
    ):  # none of its texts could be read, or nothing is ranked
        return said
    n = f"{int(mine.n.min())} {items_in_words(findings)}"
    if not is_race(findings.plan) or not findings.effect.is_share:
        return f"{said[:-1]} (means over {n} at least, without an interval)."
    return (
        f"{said[:-1]}; after a race most layers were measured on few, {n} at least, which "
        "does not rank them."
    )


def _layers_said(f: Findings) -> str:
    if not f.effect.is_share and f.level <= 0:
        return (
            f"{_NOT_RANKED} by the dose that they need, since the effect of the chosen condition "
            f"is {f.chosen.effect.value:+.2f} nats."
        )
    needed, goal = f.needed, " ".join(goal_of(f))
    reached = needed.dropna(subset="dose_natural")
    if reached.empty:
        least, most = (f"{end:g}" for end in (needed.largest_dose.min(), needed.largest_dose.max()))
        less = "" if least == most else f" ({least} at some layers, the largest measured there)"
        damage = " with every limit known and kept" if needed.first_broken.notna().any() else ""
        return f"Layers: none reaches the goal to {goal}{damage} at up to {most} natural{less}."
    least = reached.dose_natural.min()
    if least == 0:
        return f"{_NOT_RANKED}, since the goal to {goal} is reached without steering."
    dose = f"{least:.2g}"  # as it is said, so that none is said to need more of the same
    best = reached[reached.dose_natural.map("{:.2g}".format) == dose]
    if len(needed) == 1:
        return f"Layers: to {goal}, layer {int(best.layer.iloc[0])}, the only one measured, needs {dose} natural."
    some = f.plan.layers is not None
    measured = f" of the {len(needed)} measured" if some else ""
    named = _named(sorted(map(int, best.layer)))
    said = f"Layers: to {goal},{measured} {named} least, {dose} natural"
    last = needed.sort_values("layer").tail(max(1, math.ceil(_LAST * len(needed))))
    last = last[~last.layer.isin(best.layer)]
    parts = [
        f"layer {int(r.layer)} "
        + (
            _never(float(r.largest_dose), float(r.largest_whole), float(r.first_broken))
            if math.isnan(r.dose_natural)
            else f"{r.dose_natural:.2g}"
        )
        for r in last.itertuples()
    ]
    if not parts:
        return f"{said}."
    last_of = (
        "the last of them" if some else "the last layers" if len(parts) > 1 else "the last layer"
    )
    more = f"{last_of} {'need' if len(parts) > 1 else 'needs'} more"
    return f"{said}; {more}: {', '.join(parts)}."


def _named(layers: Sequence[int]) -> str:
    """One layer that needs, or several that need."""
    if len(layers) == 1:
        return f"layer {layers[0]} needs"
    return f"layers {', '.join(map(str, layers[:-1]))} and {layers[-1]} need"


def _never(largest: float, largest_whole: float, first_broken: float) -> str:
    """Why no dose of a layer was enough."""
    if math.isnan(first_broken):  # what is not known at the largest doses is the effect itself
        if math.isnan(largest_whole):
            return "not known"
        how = "measured" if largest_whole == largest else "at which the effect is known"
        return f"more than {largest_whole:g}, the largest {how}"
    if largest_whole == largest:
        return f"more than {largest:g}, the largest measured"
    if largest_whole > first_broken:
        return f"more than {largest_whole:g}, the largest at which every limit is known and kept"
    return f"not before {first_broken:g}, where a limit is broken or unknown"
