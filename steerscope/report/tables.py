"""The tables of a study or a sweep."""

from __future__ import annotations

import pandas as pd

from steerscope.judges.effects import KL_WRITTEN
from steerscope.runs.results import Run
from steerscope.runs.tables import Column, Table
from steerscope.studies.steering.findings import Findings, fewest_items, find, items_in_words
from steerscope.studies.steering.layer_words import goal_of
from steerscope.studies.steering.zones import zones_of


def tables(run: Run, findings: Findings | None = None) -> list[Table]:
    """Every table that the rows of a run can give."""
    f = findings or find(run)
    found = [_conditions(f), _needed(f)]
    if f.costs:
        found.append(_costs(f))
    zoning = zones_of(f)
    if zoning is not None:
        effect = _effect_column(f)
        kl = Column("kl_nats", "KL (nats)", 3)
        damage = Column("damage", "worst cost (share of its limit)", 2)
        sure = Column("sure", "sure")
        columns = (Column("layer", "layer"), Column("zone", "zone"), sure, effect, kl, damage)
        caption = (
            f"Zones of the layers at {zoning.dose_relative:.2f} of a typical activation, select "
            "split, interpolated between doses; sure: the intervals that decide are on one side of their "
            "limits. Intervals are 95 %, over "
            f"{items_in_words(f)}."
        )
        found.append(Table("zones", zoning.table, columns, caption))
    return found


def _effect_column(f: Findings) -> Column:
    share = f.effect.is_share
    title = f"{f.effect.short} (%)" if share else "shift of the log-odds (nats)"
    digits, factor = (1, 100.0) if share else (2, 1.0)
    return Column("effect", title, digits, not share, "low", "high", factor)


def _items(f: Findings) -> str:
    return "prompts" if f.effect.is_share else "pairs"


def _conditions(f: Findings) -> Table:
    measured = f.summary[KL_WRITTEN].notna().any()
    written = (Column(KL_WRITTEN, "KL, written (nats)", 3),) if measured else ()
    columns = (
        Column("method", "method"),
        Column("layer", "layer"),
        Column("dose_natural", "dose (natural)", 2, signed=True),
        Column("dose_relative", "dose (relative)", 2, signed=True),
        Column("kl_nats", "KL, prompts (nats)", 3),
        *written,
        _effect_column(f),
        Column("n", "n"),
        Column("over", "over the limit, or unknown"),
    )
    frame = f.summary.sort_values(["method", "layer", "dose_natural"], kind="stable")
    if (frame.layer < 0).any():
        frame["layer"] = ["several" if layer < 0 else str(layer) for layer in frame.layer]
    caption = f"Every condition of the sweep, select split; intervals are 95 %, over n {items_in_words(f)}."
    return Table("conditions", frame, columns, caption)


def _needed(f: Findings) -> Table:
    share = f.effect.is_share
    goal = " ".join(goal_of(f))
    columns = (
        Column("layer", "layer"),
        Column("dose_natural", "dose (natural)", 2),
        Column("largest_dose", "largest dose measured (natural)", 2),
        Column(
            "largest_effect",
            "largest effect (%)" if share else "largest effect (nats)",
            1 if share else 2,
            factor=100.0 if share else 1.0,
        ),
        Column("first_broken", "a limit is broken or unknown from (natural)", 2),
    )
    n = fewest_items(f.summary)
    caption = (
        f"The dose that each layer needs to {goal} with every limit known and kept, interpolated; select split, at least {n} "
        f"{items_in_words(f)} a dose; means without an interval."
    )
    return Table("needed_doses", f.needed.sort_values("layer"), columns, caption)


def _costs(f: Findings) -> Table:
    rows = []
    for cost in f.costs:
        factor = 100.0 if cost.is_share else 1.0
        row: dict[str, object] = {"what": f"{cost.words} (%)" if cost.is_share else cost.words}
        for name, found in (("plain", cost.plain), ("steered", cost.steered)):
            row |= {name: factor * found.value, "n": found.n}
            row |= {f"{name}_low": factor * found.low, f"{name}_high": factor * found.high}
        rows.append(row)
    columns = (
        Column("what", "metric"),
        Column("plain", "plain", 2, low="plain_low", high="plain_high"),
        Column("steered", "steered", 2, low="steered_low", high="steered_high"),
        Column("n", "n"),
    )
    c = f.chosen
    caption = (
        f"What {f.plan.method} at layer {c.layer}, {c.dose_natural:+g} natural, costs on the "
        f"{'test' if f.stated else 'select'} split; intervals are 95 %, over n "
        f"{'distinct prompts' if f.distinct else 'prompts'}."
    )
    return Table("costs", pd.DataFrame(rows), columns, caption)
