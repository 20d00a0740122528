"""What is found in a run, in words: the verdict, the answer, what it costs and which layers."""

from __future__ import annotations

import math

from steerscope.judges.effects import Effect
from steerscope.statistics import BestCell, Estimate
from steerscope.studies.steering.findings import Cost, Findings

_LAST = 0.25  # share of the layers that count as the last ones


def amount(effect: Effect, estimate: Estimate, *, difference: bool = False) -> str:
    """An effect with its interval, in percent or nats."""
    if not effect.is_share:
        return f"{estimate.value:+.2f} nats [{estimate.low:+.2f}, {estimate.high:+.2f}]"
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    if difference:
        return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def verdict(findings: Findings) -> str:
    """Yes, yes at a price, or no, in one sentence; the price is what the held-out prompts paid."""
    f, model = findings, findings.plan.model
    if f.stated is None:
        return f"A sweep of {model}: the choice below is not yet confirmed on other prompts."
    against = f.over_random or f.stated
    if not against.low > 0:
        return (
            f"No: {model} was not steered beyond what random directions do, as far as "
            f"{against.n} {_held_out(f.effect)} can tell."
        )
    price = ", ".join(_price(cost) for cost in f.costs if cost.is_broken)
    if f.chosen.broken:
        paid = f"; here {price}" if price else ""
        return f"Only at a price: every dose that steers {model} breaks something{paid}."
    steered = f"{model} can be steered towards {f.effect.positive}"
    return f"Yes, at a price: {steered}; {price}." if price else f"Yes: {steered}."


def _held_out(effect: Effect) -> str:
    """What an effect is stated on."""
    return "held-out prompts" if effect.is_share else "held-out pairs"


def _price(cost: Cost) -> str:
    """By how much a cost is over its limit."""
    if not cost.is_share:
        return f"{cost.words} worse by {cost.worse.value:.2f} (limit {cost.limit:g})"
    return f"{cost.words} worse by {100 * cost.worse.value:.1f} points (limit {100 * cost.limit:g})"


def answer(findings: Findings) -> list[str]:
    """This layer, this dose, this effect on held-out prompts, this cost, and how sure."""
    f, c = findings, findings.chosen
    where = f"{f.plan.stream} of layer {c.layer} (0-based)"
    dose = (
        f"{c.dose_natural:+g} natural ({c.dose_relative:.2f} of a typical activation, "
        f"length {c.dose_absolute:.3g})"
    )
    largest = f.summary.dose_natural[f.summary.method == f.plan.method].max()
    edge = "; no larger dose was measured" if c.dose_natural >= largest - 1e-6 else ""
    said = [f"Where and how hard: {f.plan.method} added at {where}, {dose}{edge}."]
    estimate = f.stated or c.effect
    prompts = _held_out(f.effect)
    split = prompts if f.stated else "prompts of the select split"
    said.append(f"Effect: {amount(f.effect, estimate)} {f.effect.words}, on {estimate.n} {split}.")
    if f.corrected:
        said.append(_correction_in_words(f, f.corrected))
    if f.over_random:
        said.append(
            f"Against random directions of the same length: "
            f"{amount(f.effect, f.over_random, difference=True)}"
            + (
                f"; against label-shuffled ones: {amount(f.effect, f.over_shuffled, difference=True)}."
                if f.over_shuffled
                else "."
            )
        )
    if f.mirrored:
        said.append(
            f"The same dose the other way, towards {f.effect.negative}: "
            f"{amount(f.effect, _on_one_scale(f.effect, f.mirrored))}."
        )
    said.append(slope_in_words(f))
    said.append(f"Cost: {costs_in_words(f)}.")
    said.append(
        f"How sure: chosen among {c.n_cells} conditions on other prompts than those it is stated on; "
        f"the chance of one this good in a sweep without any effect is p = {c.p_corrected:.2g}; "
        "intervals are 95 %, bootstrap over prompts."
    )
    said.append(layers_in_words(f))
    return said


def _on_one_scale(effect: Effect, mirrored: Estimate) -> Estimate:
    """The effect of the opposite dose on the scale of the effect itself.

    Nats are stored as gained along the dose; log-odds of the positive text fall when that is negative.
    """
    if effect.is_share:
        return mirrored
    return Estimate(-mirrored.value, -mirrored.high, -mirrored.low, mirrored.n)


def _correction_in_words(f: Findings, best: BestCell) -> str:
    """What the best of the sweep is worth on prompts that did not choose it, before any test."""
    change = "above plain, " if f.effect.is_share else ""
    return (
        "On the select split, allowing for the choice (half of the prompts choose, the other half "
        f"estimates): {amount(f.effect, best.corrected, difference=True)} {change}against "
        f"{amount(f.effect, best.naive, difference=True)} without; half of the prompts choose this "
        f"very condition in {100 * best.same_share:.0f} % of splits."
    )


def slope_in_words(findings: Findings) -> str:
    """Effect per natural unit at the chosen layer."""
    f = findings
    if f.slope is None:
        return f"Slope: none is stated, since {f.no_slope.rstrip('.')}."
    model = " of the linear probability model" if f.effect.is_share else ""
    doses = "positive doses" if f.effect.is_share else "doses"
    items = "prompts" if f.effect.is_share else "pairs"
    return (
        f"Slope{model} at layer {f.chosen.layer}, mean over {items}: "
        f"{amount(f.effect, f.slope.slope, difference=True)} per natural unit over the {doses} "
        f"measured, {f.slope.slope.n} {items}, p = {f.slope.p:.2g}; the response is a sigmoid, so that "
        "other doses have another slope."
    )


def costs_in_words(findings: Findings) -> str:
    """Every cost from plain to steered, and the KL."""
    parts = [f"KL {findings.kl:.2f} nats per position"]
    for cost in findings.costs:
        if cost.is_share:
            change = f"{100 * cost.plain.value:.1f} % to {100 * cost.steered.value:.1f} %"
        else:
            change = f"{cost.plain.value:.2f} to {cost.steered.value:.2f}"
        parts.append(f"{cost.words} {change}")
    return "; ".join(parts)


def layers_in_words(findings: Findings) -> str:
    """Which layer needs the least, and whether the last layers need more."""
    f, needed = findings, findings.needed
    goal = "flip half of the prompts" if f.effect.is_share else f"reach {f.level:+.2f} nats"
    reached = needed.dropna(subset="dose_natural")
    if reached.empty:
        top = needed.largest_dose.max()
        damage = " without breaking a limit" if needed.first_broken.notna().any() else ""
        return f"Layers: none reaches the goal to {goal}{damage} at up to {top:g} natural."
    best = reached.loc[reached.dose_natural.idxmin()]
    said = (
        f"Layers: to {goal}, layer {int(best.layer)} needs least, {best.dose_natural:.2g} natural"
    )
    last = needed.sort_values("layer").tail(max(1, math.ceil(_LAST * len(needed))))
    last = last[last.layer != best.layer]
    parts = [
        f"layer {int(r.layer)} "
        + (
            _never(float(r.largest_dose), float(r.first_broken))
            if math.isnan(r.dose_natural)
            else f"{r.dose_natural:.2g}"
        )
        for r in last.itertuples()
    ]
    if not parts:
        return f"{said}."
    more = "the last layers need more" if len(parts) > 1 else "the last layer needs more"
    return f"{said}; {more}: {', '.join(parts)}."


def _never(largest: float, first_broken: float) -> str:
    """Why no dose of a layer was enough."""
    if math.isnan(first_broken):
        return f"more than {largest:g}, the largest measured"
    return f"not before {first_broken:g} breaks a limit"
