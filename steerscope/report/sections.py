"""The tables of a study's page, one function each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd

from steerscope.audits import Finding
from steerscope.judges.effects import KL_WRITTEN
from steerscope.report.page import as_table, as_text
from steerscope.runs.results import Run
from steerscope.runs.tables import MISSING
from steerscope.studies.steering.findings import Findings
from steerscope.studies.steering.layer_words import goal_of
from steerscope.studies.steering.zones import Zoning, no_zones_in_words


def needed(f: Findings) -> str:
    """What each layer needs for the effect asked for."""
    percent = f.effect.is_share
    verb, what = goal_of(f)
    goal = f"{verb}{'es' if verb.endswith('ch') else 's'} {what}"
    frame = (
        f.needed.drop(columns="largest_whole")
        .sort_values("layer")
        .rename(
            columns={
                "dose_natural": f"dose that {goal} (natural)",
                "largest_dose": "largest dose measured (natural)",
                "largest_effect": "largest effect (%)" if percent else "largest effect (nats)",
                "first_broken": "a limit is broken or unknown from (natural)",
            }
        )
    )
    if percent:
        frame["largest effect (%)"] *= 100
    return as_table(frame, dict.fromkeys(frame.columns[1:], "{:.2f}".format))


def zones(f: Findings, zoning: Zoning | None) -> str:
    """What each layer is like at one dose."""
    if zoning is None:
        return f"<p>{as_text(no_zones_in_words(f))}</p>"
    percent = f.effect.is_share
    shown = zoning.table
    frame = pd.DataFrame(
        {
            "layer": shown.layer,
            "zone": shown.zone,
            "sure": shown.sure.map({True: "yes", False: "no"}),
            "effect (%)" if percent else "effect (nats)": shown.effect * (100 if percent else 1),
            "KL (nats)": shown.kl_nats,
            "worst cost (share of its limit)": shown.damage,
        }
    )
    limit = f"{100 * f.level:g} %" if percent else f"{f.level:+.2f} nats"
    return (
        f"<p>{as_text(zoning)}</p>{as_table(frame, dict.fromkeys(frame.columns[3:], '{:.2f}'.format))}"
        f"<p>Select split, interpolated between doses. Sweet: an effect of {limit} within the limits "
        "of damage; destructive: a limit is broken; rigid: less effect and a KL under "
        f"{zoning.limits.kl:g} nats; weak: less effect though the output moves. Sure: the interval of "
        "the effect lies on one side of its limit, and of a sweet layer those of all costs within theirs; "
        "of a destructive one, that of a cost over its own. The costs of weak and rigid ones are means: "
        "close to 1 such a layer may be destructive.</p>"
    )


def conditions(f: Findings) -> str:
    """Every condition of the sweep, folded away."""
    factor = 100.0 if f.effect.is_share else 1.0
    unit, number = ("%", "{:.1f}") if f.effect.is_share else ("nats", "{:+.2f}")
    frame = pd.DataFrame(
        {
            "method": f.summary.method,
            "layer": f.summary.layer.map(lambda layer: "several" if layer < 0 else str(layer)),
            "dose (natural)": f.summary.dose_natural.map("{:+.2f}".format),
            "dose (relative)": f.summary.dose_relative.map("{:+.2f}".format),
            "dose (length)": f.summary.dose_absolute.map("{:+.3g}".format),
            "KL, prompts (nats)": f.summary.kl_nats.map(_known("{:.3f}")),
            **_written(f.summary),
            f"effect ({unit})": (factor * f.summary.effect).map(_known(number)),
            "95 % interval": [
                MISSING
                if low != low
                else f"{number.format(factor * low)} to {number.format(factor * high)}"
                for low, high in zip(f.summary.low, f.summary.high, strict=True)
            ],
            "n": f.summary.n,
            "over the limit, or unknown": f.summary.over,
        }
    ).sort_values(["method", "layer"], kind="stable")
    return f"<details><summary>{len(frame)} conditions, select split</summary>{as_table(frame)}</details>"


def _written(summary: pd.DataFrame) -> dict[str, pd.Series]:
    """The column of the KL on written tokens, where the run measured it."""
    if KL_WRITTEN not in summary or summary[KL_WRITTEN].isna().all():
        return {}
    return {"KL, written (nats)": summary[KL_WRITTEN].map(_known("{:.3f}"))}


def _known(number: str) -> Callable[[float], str]:
    """A number in a format, and a dash where there is none."""
    return lambda value: MISSING if math.isnan(value) else number.format(value)


def audit_table(found: Sequence[Finding]) -> str:
    """What may deceive the reader, with the remedy."""
    if not found:
        return "<p>The audit has nothing to say.</p>"
    rows = [
        f'<tr class="{f.severity}"><td>{f.severity}</td><td>{as_text(f.where)}</td>'
        f"<td>{as_text(f.what)}.</td><td>{as_text(f.remedy)}.</td></tr>"
        for f in found
    ]
    head = "<tr><th></th><th>where</th><th>what</th><th>what to do</th></tr>"
    return f'<table class="audit">{head}{"".join(rows)}</table>'


def method(run: Run, f: Findings) -> str:
    """How everything was measured."""
    origin, configuration = run.description["provenance"], run.configuration
    facts = {
        "model": f"{f.plan.model}, {origin['backbone']} backbone, weights {origin['fingerprint'][:16]}",
        "contrast set": f"{f.plan.contrasts}, sha256 {configuration['contrasts_sha256'][:16]}",
        "pairs": ", ".join(f"{k} {v}" for k, v in origin["n_pairs"].items()),
        "prompts": ", ".join(f"{k} {v}" for k, v in origin["n_prompts"].items()),
        "direction": f"{f.plan.method}, read at token {f.plan.read!r}, found on the fit pairs",
        "scope": f"{f.plan.scope} (absolute positions; position 0 is left alone unless named)",
        "decoding": f"{f.plan.n_new} new tokens, "
        + (f"temperature {f.plan.temperature:g}" if f.plan.temperature else "greedy"),
        "seed": str(f.plan.seed),
        "versions": ", ".join(f"{k} {v}" for k, v in origin["versions"].items()),
        "command": run.command.strip("`"),
    }
    items = "".join(f"<dt>{as_text(k)}</dt><dd>{as_text(v)}</dd>" for k, v in facts.items())
    return (
        f"<dl>{items}</dl><p>A dose of one natural unit is the distance between the class means at "
        "the site; one relative unit is the median length of an activation there, position 0 left "
        f"out. Rows, texts and directions lie beside this page; <code>steerscope figures RUN</code>, with "
        "this folder for RUN, redraws it.</p>"
    )
