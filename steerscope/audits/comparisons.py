"""Checks of what was compared with what: doses over layers, positions, gates, diagnostics."""

from __future__ import annotations

import math
import re

import pandas as pd

from steerscope.audits.evidence import Evidence
from steerscope.audits.finding import Finding
from steerscope.extraction.reading import ReadToken
from steerscope.statistics import Correlation
from steerscope.steering.scopes import Scope

_SPREAD = 1.5  # largest over smallest relative dose
_LEVEL = 0.05
_CLAIMED_SIGN = -1  # of the eigengap: the weakest link gives way first
_STRENGTH = re.compile(r"strength=([^,]+)")
_GATE = re.compile(r"eigengap:([0-9.e-]+)(:below)?")


def unmatched_doses(evidence: Evidence) -> list[Finding]:
    """Layers are compared at one absolute length, though their activations differ in length."""
    f = evidence.findings
    rows = f.summary[(f.summary.method == f.plan.method) & (f.summary.dose_natural > 0)]
    same = rows.groupby(rows.dose_absolute.round(4)).dose_relative
    shared = same.agg(["min", "max", "count"])
    shared = shared[shared["count"] > 1]
    if len(shared) < 1 or rows.layer.nunique() != shared["count"].max():
        return []
    spread = float((shared["max"] / shared["min"]).max())
    if spread <= _SPREAD:
        return []
    return [
        Finding(
            "error",
            "layers are compared at the same absolute length, which is up to "
            f"{spread:.1f} times larger a share of the activations at one layer than at another",
            "the sweep",
            "Compare layers at relative or natural doses, or at a matched KL",
            {"relative_max_over_min": spread},
        )
    ]


def position_zero(evidence: Evidence) -> list[Finding]:
    """Position 0, the attention sink of many models, is steered or read."""
    scope, read = Scope.parse(evidence.plan.scope), ReadToken.parse(evidence.plan.read)
    parts = []
    if scope.holds_the_first():
        parts.append(f"the scope {evidence.plan.scope} steers it")
    if read.sink:
        parts.append(f"reading {evidence.plan.read} counts it")
    if not parts:
        return []
    return [
        Finding(
            "warning",
            f"position 0 is an attention sink in many models, and {' and '.join(parts)}",
            "scope and read",
            "Leave position 0 out, or show that the result does not change without it",
        )
    ]


def unpredictive_diagnostic(evidence: Evidence) -> list[Finding]:
    """The eigengap stands in the report and does not rank the layers as it is said to."""
    predictor = evidence.findings.predictor
    if predictor is None:
        return []
    c = predictor.correlation
    if c.rho * _CLAIMED_SIGN > 0 and c.p <= _LEVEL:
        return []
    used = evidence.table.cell.str.contains("strength=eigengap", regex=False).any()
    numbers = {"rho": c.rho, "low": c.low, "high": c.high, "p": c.p, "layers": c.n}
    return [
        Finding(
            "warning" if used else "note",
            f"over {c.n} layers the smallest eigengap {_correlation_in_words(c)}; the claim is a "
            "negative correlation",
            "eigengap",
            "Do not choose a layer or gate by it; one run of so few layers decides nothing",
            {name: value for name, value in numbers.items() if not math.isnan(value)},
        )
    ]


def _correlation_in_words(c: Correlation) -> str:
    """A rank correlation with what is known of it."""
    if math.isnan(c.rho):
        return "cannot be ranked against the effect, since one of the two is the same or unknown"
    return f"has a rank correlation of {c.rho:+.2f} ({c.interval}) with the effect, p = {c.p:.2g}"


def idle_gate(evidence: Evidence) -> list[Finding]:
    """A gate is open everywhere or nowhere, so that it decides nothing."""
    found = []
    cells = pd.Series(evidence.labels.index)
    strengths = cells.str.extract(_STRENGTH.pattern)[0].dropna()
    for gate in sorted(set(strengths[strengths.str.contains("[a-z]")])):
        open_at = _open_layers(evidence, gate)
        if open_at is None or 0 < sum(open_at.values()) < len(open_at):
            continue
        state = "open" if any(open_at.values()) else "shut"
        found.append(
            Finding(
                "warning",
                f"the gate {gate} is {state} at all {len(open_at)} layers: it selects nothing",
                "gates",
                "Choose a threshold that lies between the layers' values, on the select split",
                {"layers": len(open_at), "open": sum(open_at.values())},
            )
        )
    return found


def _open_layers(evidence: Evidence, gate: str) -> dict[int, bool] | None:
    """At which layers an eigengap gate is open; None for other gates or without eigengaps."""
    read, heads = _GATE.fullmatch(gate), evidence.findings.heads
    if read is None or heads is None:
        return None
    gaps = heads.groupby("layer").eigengap.min()
    return {int(i): (gap < float(read[1])) == bool(read[2]) for i, gap in gaps.items()}
