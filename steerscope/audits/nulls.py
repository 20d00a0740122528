"""Checks of the effect against nothing: zero, random directions, shuffled labels, the other sign."""

from __future__ import annotations

import math

from steerscope.audits.evidence import Evidence
from steerscope.audits.finding import Finding
from steerscope.statistics import Estimate

_CONTROLS = {"random": "random directions", "label_shuffled": "label-shuffled directions"}
_ENOUGH_NULLS = 19  # beating all of them has p = 1/20


def no_null(evidence: Evidence) -> list[Finding]:
    """Nothing shows what a random direction of the same length does there."""
    if evidence.cells("random"):
        return []
    return [
        Finding(
            "error",
            "no random direction was measured at the chosen layer and dose, so any change of that "
            "length may do as well",
            evidence.place,
            "Measure random directions of the same length there",
        )
    ]


def few_nulls(evidence: Evidence) -> list[Finding]:
    """Too few random directions to give a p value of their own."""
    n = len(evidence.cells("random"))
    same_choice = min((rank.n for rank in evidence.findings.nulls), default=0)
    if not 0 < n < _ENOUGH_NULLS or same_choice >= _ENOUGH_NULLS:
        return []
    return [
        Finding(
            "note",
            f"the null is {n} random direction{'' if n == 1 else 's'}: beating all of them has p = {1 / (n + 1):.2g} over "
            "directions, however small the p value over prompts",
            evidence.place,
            f"For a claim about directions measure at least {_ENOUGH_NULLS} of them",
            {"directions": n, "smallest_p": 1 / (n + 1)},
        )
    ]


def null_not_beaten(evidence: Evidence) -> list[Finding]:
    """The effect is not above the mean of a control, paired by prompt."""
    found = []
    for control, words in _CONTROLS.items():
        nulls = evidence.nulls(control)
        if nulls.empty:
            continue
        over = evidence.mean(evidence.stated - nulls.mean(axis=0))
        if not over.low > 0:
            found.append(
                Finding(
                    "error",
                    f"the effect minus that of {words} is {_amount(evidence, over)}, which is not "
                    f"{'' if over.value <= 0 else 'surely '}above 0",
                    evidence.place,
                    "Claim no effect of this direction",
                    {"directions": len(nulls), **_numbers(over)},
                )
            )
    return found


def inside_null_band(evidence: Evidence) -> list[Finding]:
    """The effect is above the mean of the controls, but one of them reaches its interval."""
    stated = evidence.mean(evidence.stated)
    found = []
    for control, words in _CONTROLS.items():
        nulls = evidence.nulls(control)
        if nulls.empty or not evidence.mean(evidence.stated - nulls.mean(axis=0)).low > 0:
            continue
        highest = float(nulls.mean(axis=1).max())
        if stated.low <= highest:
            found.append(
                Finding(
                    "warning",
                    f"the best of {len(nulls)} {words} gains {highest:.3g} {evidence.unit}, "
                    f"{'above' if highest > stated.high else 'inside'} the interval of the effect, {_amount(evidence, stated)}",
                    evidence.place,
                    "Measure more of them, and state the effect against the best",
                    {"highest_null": highest, "directions": len(nulls), **_numbers(stated)},
                )
            )
    return found


def interval_holds_zero(evidence: Evidence) -> list[Finding]:
    """The stated effect is not told from that of no steering."""
    stated = evidence.mean(evidence.stated)
    if not stated.low <= 0 <= stated.high:
        return []
    return [
        Finding(
            "error",
            f"the gain over plain is {_amount(evidence, stated)}: its interval holds 0",
            evidence.place,
            "Claim no effect, or measure more prompts",
            _numbers(stated),
        )
    ]


def wrong_sign(evidence: Evidence) -> list[Finding]:
    """The effect goes against the dose; by its size alone it would count as success."""
    stated = evidence.mean(evidence.stated)
    if not stated.high < 0:
        return []
    return [
        Finding(
            "error",
            f"a positive dose moves the model away from {evidence.effect.positive}: the gain is "
            f"{_amount(evidence, stated)}",
            evidence.place,
            "Report signed effects, and find out why the sign turned between the splits",
            _numbers(stated),
        )
    ]


def signs_disagree(evidence: Evidence) -> list[Finding]:
    """At some layers the direction of the fit split points the other way on the select split."""
    f = evidence.findings
    rows = f.summary[(f.summary.method == f.plan.method) & (f.summary.dose_natural > 0)]
    wrong: dict[int, float] = {}
    for cell, layer in zip(rows.cell, rows.layer, strict=True):
        gain = evidence.mean(evidence.gains["select"].loc[cell].dropna(), "select")
        if gain.high < 0:
            wrong[int(layer)] = min(gain.value, wrong.get(int(layer), 0.0))
    if not wrong:
        return []
    return [
        Finding(
            "warning",
            f"a positive dose moves away from {evidence.effect.positive} at some dose, on other "
            "pairs than the direction was found on",
            f"layers {', '.join(map(str, sorted(wrong)))}, select split",
            "Look at the sign of the direction and at what breaks at those doses",
            {f"lowest_gain_layer_{layer}": gain for layer, gain in sorted(wrong.items())},
        )
    ]


def both_signs_alike(evidence: Evidence) -> list[Finding]:
    """The opposite dose moves the model the same way: damage rather than steering.

    By a judge that gives scores a text counts for the same concept at either dose.
    """
    cells = evidence.cells(evidence.plan.method, sign=-1)
    if not cells or not evidence.mean(evidence.stated).low > 0:
        return []
    gained = evidence.gains[evidence.split].loc[cells[0]].dropna()
    mirrored = evidence.mean(-gained if evidence.effect.is_shown else gained)
    if not mirrored.high < 0:
        return []
    return [
        Finding(
            "warning",
            f"the opposite dose moves towards {evidence.effect.positive} as well: its gain towards "
            f"{evidence.effect.negative} is {_amount(evidence, mirrored)}",
            evidence.place,
            "State the odd part of the response, (f(dose) - f(-dose)) / 2",
            _numbers(mirrored),
        )
    ]


def _amount(evidence: Evidence, e: Estimate) -> str:
    if math.isnan(e.low):
        return f"{e.value:+.3g} {evidence.unit} (no interval: {e.n} distinct)"
    return f"{e.value:+.3g} {evidence.unit} [{e.low:+.3g}, {e.high:+.3g}]"


def _numbers(e: Estimate) -> dict[str, float]:
    numbers = {"value": e.value, "low": e.low, "high": e.high, "prompts": e.n}
    return {name: value for name, value in numbers.items() if not math.isnan(value)}
