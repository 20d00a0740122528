"""Checks of the directions themselves: the same one twice, one for all layers, the sink."""

from __future__ import annotations

import math
from itertools import combinations

from steerscope.audits.evidence import Evidence
from steerscope.audits.finding import Finding

_SAME = 0.99
_IDENTICAL = 0.9999
_SINK = 0.3  # cosine
_MOSTLY = 0.5  # of the squared length
_SINK_LENGTH = 3.0  # relative; shorter than that, position 0 is a token like any other


def same_vector(evidence: Evidence) -> list[Finding]:
    """Two methods gave one direction, so that comparing them measures the noise."""
    found = []
    for a, b in combinations(evidence.directions, 2):
        if a.site != b.site or a.method == b.method:
            continue
        cosine = float(a.unit @ b.unit)
        if abs(cosine) > _SAME:
            found.append(
                Finding(
                    "warning",
                    f"{a.label} and {b.label} are the same direction under two names, cosine "
                    f"{cosine:+.4f}: a difference between them is noise",
                    str(a.site),
                    "Count them as one method",
                    {"cosine": cosine},
                )
            )
    return found


def one_vector_many_layers(evidence: Evidence) -> list[Finding]:
    """One vector is judged at several layers, so that the layer it came from is favoured."""
    method = evidence.plan.method
    mine = [d for d in evidence.directions if d.method == method]
    at = {d.site.layer for d in mine}
    judged = set(evidence.labels.layer[evidence.labels.method == method].astype(int))
    found = []
    if at and judged - at:
        found.append(
            Finding(
                "error",
                f"{method} was found at layers {_listed(at)} and is judged at {_listed(judged - at)} "
                "too",
                "directions.safetensors",
                "Find a direction at every layer that is judged",
                {"layers_found": len(at), "layers_judged": len(judged)},
            )
        )
    alike = [
        (a, b)
        for a, b in combinations(mine, 2)
        if len(a.unit) == len(b.unit) and float(a.unit @ b.unit) > _IDENTICAL
    ]
    if alike:
        layers = {d.site.layer for pair in alike for d in pair}
        found.append(
            Finding(
                "error",
                f"the directions of layers {_listed(layers)} are one vector: layers are compared by "
                "how well they take that of another",
                "directions.safetensors",
                "Find a direction at every layer that is judged",
                {"layers": len(layers)},
            )
        )
    return found


def sink_alignment(evidence: Evidence) -> list[Finding]:
    """A direction points along the attention sink, as a mean over unequal lengths does."""
    rows = evidence.table[evidence.table.method == "sink"]
    if rows.empty:
        return []
    by_layer = rows.pivot(index="layer", columns="metric", values="value")
    high = by_layer.sink_cosine[by_layer.sink_length > _SINK_LENGTH]
    high = high[high.abs() > _SINK]
    if high.empty:
        return []
    worst = int(high.abs().idxmax())
    return [
        Finding(
            "warning",
            f"the direction has a cosine of {high[worst]:+.2f} with the attention sink at position 0: "
            "it may be the difference in length of the texts",
            f"layers {_listed(set(high.index.astype(int)))}",
            "Read without position 0, or project that direction out",
            {"cosine": float(high[worst]), "layer": worst},
        )
    ]


def noisy_difference(evidence: Evidence) -> list[Finding]:
    """The direction of few pairs is mostly what these pairs happen to differ in."""
    rows = evidence.table[evidence.table.method == "noise"]
    layer = evidence.findings.chosen.layer
    share = rows.value[rows.layer == layer].max()  # NaN where it was not measured
    if not share > _MOSTLY:
        return []
    return [
        Finding(
            "warning",
            f"noise makes up {100 * share:.0f} % of the squared length of the mean difference: that of "
            f"many pairs has a cosine of about {math.sqrt(1 - share):.2f} with it",
            f"layer {layer}",
            "Find the direction from more pairs",
            {"noise_share": float(share), "layer": layer},
        )
    ]


def _listed(layers: set[int]) -> str:
    return ", ".join(map(str, sorted(layers)))
