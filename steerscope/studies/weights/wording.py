"""What a sweep of edits shows, in sentences."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from steerscope.judges.effects import Effect
from steerscope.studies.methods.one_kl import is_one_kl
from steerscope.studies.weights.findings import Limits, Standing, TooCostly

_SURE = 0.05
_USUAL = Limits()
FEWEST = 6  # items: of fewer no two-sided sign test is below 0.05


def labels_of(rows: pd.DataFrame) -> list[str]:
    """What a reader calls each condition of a `front_table`."""
    return [
        str(cell).partition("edit=")[2] or f"{method} at layer {layer}"
        for cell, method, layer in zip(rows.cell, rows.method, rows.layer, strict=True)
    ]


def front_in_words(
    found: Sequence[Standing],
    effect: Effect,
    unknown: Collection[str] = (),
    too_costly: Mapping[str, TooCostly] | None = None,
    *,
    limits: Limits = _USUAL,
    n_lost: int = 0,
) -> list[str]:
    """The verdict, one sentence for each target.

    Args:
        found: how the chosen edits stand.
        effect: the effect.
        unknown: targets whose edit overflowed.
        too_costly: by target, what was screened where not all of it was measured, as `too_costly` gives it.
        limits: what an edit had to do to be chosen.
        n_lost: how many edits overflowed where they were chosen from, as `lost_edits` counts them.
    """
    words = {s.target: _in_words(s, effect) for s in found}
    words |= {
        target: f"towards {target}: not known; the logits of the chosen edit, or of every control "
        "of it, are not finite on the test prompts."
        for target in unknown
    }
    return [
        words.get(target)
        or f"towards {target}: {_nothing((too_costly or {}).get(target), limits, n_lost)}"
        for target in (effect.positive, effect.negative)
    ]


def _nothing(costly: TooCostly | None, limits: Limits, n_lost: int) -> str:
    """Why no edit is chosen."""
    lost = (
        f"; of {n_lost} more nothing is known, since {'its' if n_lost == 1 else 'their'} logits are not finite"
        if n_lost
        else ""
    )
    if costly is None:
        return (
            f"no edit that moves the model by at least {limits.least_kl:g} nats leads there within the "
            f"limits{lost}."
        )
    return (
        f"none is chosen; of {costly.screened} edits that lead there by the screen the {costly.measured} whose "
        f"capability was measured are outside the limits, and of the others it is not known{lost}."
    )


def _in_words(s: Standing, effect: Effect) -> str:
    """How one edit stands: what it does and costs, against its controls, against steering."""
    leads = "is not shown to lead there:"
    if s.edit.low > 0 and s.edit.p_corrected < _SURE:
        leads = "leads there, by"
    elif s.edit.high < 0 and s.edit.n >= FEWEST:
        leads = "leads away from there:"
    words = f"towards {s.target}: {_named(s.edit)} {leads} {_at_a_price(s.edit, effect)}, n = {int(s.edit.n)}"
    if s.other is not None:
        words += f", and {_amount(s.other, effect)} towards {s.other.target}"
    if s.p_controls < _SURE and s.over_control.low > 0:
        words += f"; it beats every control{_but(s.lost_controls)} (largest p {s.p_controls:.3g}){_searched(s)}; "
    else:
        p = "too few items to test it" if math.isnan(s.p_controls) else f"p {s.p_controls:.2g}"
        words += (
            f"; it is not shown to beat its controls ({p}), of which the strongest, "
            f"{_named(s.strongest)}, moves {_at_a_price(s.strongest, effect)}; "
        )
    if s.lost_steering:
        return (
            words + "of the steering at its KL nothing is known, since its logits are not finite."
        )
    if s.steering is None:
        return words + "no steering reaches its KL."
    gap = s.over_steering
    side = "not told from"
    if gap.n >= FEWEST:
        side = "ahead of" if gap.low > 0 else "behind" if gap.high < 0 else side
    difference = f"{_said((gap.value, gap.low, gap.high), effect)} between them"
    words += (
        f"it is {side} the mean difference at layer {int(s.steering.layer)}, which moves "
        f"{_at_a_price(s.steering, effect)}: {difference}"
    )
    if is_one_kl(s.edit.kl_nats, s.steering.kl_nats):
        return words + "."
    return words + ", but not at one KL: it was matched on the select split and differs here."


def _searched(s: Standing) -> str:
    """That the edit was searched for and its controls were not; empty where nothing was chosen, or it is not kept."""
    if s.n_tried < 2:
        return ""
    several = f"the {s.n_controls} controls were" if s.n_controls > 1 else "the control was"
    return (
        f", but it was chosen among {s.n_tried} edits and {several} not: a search among as many changes at random may be "
        "ahead of them too"
    )


def _but(lost: int) -> str:
    """How many of the controls are not known."""
    if not lost:
        return ""
    return f" but {'one' if lost == 1 else lost} whose logits are not finite"


def _at_a_price(row: pd.Series, effect: Effect) -> str:
    """The effect with its KL and what else it costs."""
    nats = "" if math.isnan(row.kl_low) else f" [{row.kl_low:.3f}, {row.kl_high:.3f}]"
    known = not math.isnan(row.capability_change)
    points = f"capability {100 * row.capability_change:+.1f} points"
    capability = points if known else "capability not measured"
    return (
        f"{_amount(row, effect)} at {row.kl_nats:.3f} nats{nats} "
        f"({capability}, perplexity x{row.perplexity_ratio:.2f})"
    )


def _named(row: pd.Series) -> str:
    text = str(row.cell)
    _, _, edit = text.partition("edit=")
    return edit or f"{row.method} at layer {int(row.layer)}"


def _amount(row: pd.Series, effect: Effect) -> str:
    return _said((row.effect, row.low, row.high), effect)


def _said(numbers: tuple[float, float, float], effect: Effect) -> str:
    """A value with its interval and unit."""
    factor, unit, digits = (100.0, " points", 1) if effect.is_share else (1.0, " nats", 2)
    value, low, high = (factor * number for number in numbers)
    span = "(no interval)" if math.isnan(low) else f"[{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{value:+.{digits}f}{unit} {span}"
