"""What is found in a run, in words: the verdict, the answer, what it costs and which layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from steerscope.judges.effects import IMPLAUSIBLE_WHEN_ASKED, Effect
from steerscope.statistics import BestCell, Estimate
from steerscope.steering.prompting import METHODS
from steerscope.studies.steering.asking_words import asking_clause, asking_in_words
from steerscope.studies.steering.case import case_of
from steerscope.studies.steering.findings import Findings, items_in_words
from steerscope.studies.steering.layer_words import layers_in_words
from steerscope.studies.steering.null_words import nulls_in_words
from steerscope.studies.steering.phrases import amount, number, percent, prices, size
from steerscope.studies.steering.plan import is_race
from steerscope.studies.steering.verdict import decide, p_in_words

_LEAST_P = 1e-15


def verdict(findings: Findings, errors: Sequence[str] = ()) -> str:
    """The answer in one sentence, by the rule of `decide`.

    Args:
        findings: what a run found.
        errors: errors that the audit found; `audits.sentence` looks for them.
    """
    f = findings
    if f.gain is None:
        return f"A sweep of {f.plan.model}: the choice below is not yet confirmed on other {_items(f)}."
    case = case_of(f, errors)
    found = decide(case)
    claim = claim_of(f)
    asked = asking_clause(f)
    if found.answer == "No":
        much = " by as much as is of interest" if f.effect.is_share and f.gain.low > 0 else ""
        return (
            f"No: {claim.no}{much}: at the layer and dose that were chosen on other texts the gain is "
            f"{amount(f.effect, f.gain, difference=True, apart=case.smallest)}, below the smallest effect of interest, "
            f"{size(f.effect, case.smallest)}{_flipped_and_lost(f)}{asked}."
        )
    if found.answer == "Not shown":
        reasons = "; ".join(found.reasons)
        return f"Not shown: whether {claim.open}; {reasons}{_flipped_and_lost(f)}{asked}."
    price = prices(f.costs)
    return f"{found.answer}: {claim.yes}{f'; {price}' if price else ''}{asked}."


def _flipped_and_lost(f: Findings) -> str:
    """How many texts are flipped but damaged, where that is most of what steering did."""
    if f.joint is None or f.stated is None or not f.joint.value < f.stated.value / 2:
        return ""
    do = f"show {f.effect.positive}" if f.effect.is_shown else "are flipped"
    both = f"{do} and are undamaged" if f.effect.is_shown else f"{do} and undamaged"
    return (
        f"; {100 * f.stated.value:.1f} % of the texts that could be read {do}, and "
        f"{100 * f.joint.value:.1f} % of all {both}"
    )


@dataclass(frozen=True)
class Claim:
    """What a run may say: with a judge of text that a model can be steered, else which way its log-odds moved.

    Attributes:
        yes: the claim.
        no: its opposite.
        open: the question.
    """

    yes: str
    no: str
    open: str


def claim_of(f: Findings) -> Claim:
    """The claim that a run's effect allows."""
    model = f.plan.model
    if f.effect.is_share:
        towards = f"towards {f.effect.positive}"
        return Claim(
            f"{model} can be steered {towards}",
            f"{model} was not steered {towards}",
            f"{model} can be steered {towards}",
        )
    style = f.plan.contrasts.startswith("style:")
    what = (
        f"the instruction of {f.plan.contrasts}"
        if style
        else f"the positive texts of {f.plan.contrasts}"
    )
    unread = "nothing is said of its replies" if style else "what it writes was not judged"
    return Claim(
        f"steering moves the log-odds of {model} towards {what} ({unread})",
        f"steering does not move the log-odds of {model} towards {what} by as much as is of interest ({unread})",
        f"steering moves the log-odds of {model} towards {what} ({unread})",
    )


def _held_out(f: Findings) -> str:
    """What an effect is stated on: prompts or pairs, and how many of them are distinct."""
    several = "" if f.n_rows == 1 else "s"
    items = f"held-out prompt{several}" if f.effect.is_share else f"held-out pair{several}"
    read = f", {f.n_read} of them read" if f.n_read < f.n_rows else ""
    if not f.distinct or f.n_distinct == f.n_rows:
        return f"{f.n_rows} {items}{read}"
    if f.effect.is_share and getattr(f.plan, "samples", 1) > 1:
        return f"{f.n_rows} texts of held-out prompts ({f.n_distinct} distinct prompts){read}"
    kind = "distinct" if f.effect.is_share else "distinct contrasts"
    return f"{f.n_rows} {items} ({f.n_distinct} {kind}){read}"


def answer(findings: Findings) -> list[str]:
    """This layer, this dose, this effect on held-out prompts, this cost, and how sure."""
    f, c = findings, findings.chosen
    said = [_where_and_how_hard(f)]
    estimate = f.stated or c.effect
    on = _held_out(f) if f.stated else f"{estimate.n} {items_in_words(f)} of the select split"
    said.append(f"Effect: {amount(f.effect, estimate)} {counted_in_words(f.effect)}, on {on}.")
    if f.card is not None:
        said.append(f"Judge: {f.effect.judge}, {f.card}.")
    if f.corrected_effect is not None:
        said.append(
            f"Corrected for the errors of the judge: {amount(f.effect, f.corrected_effect)}."
        )
    if f.joint and f.gain:
        success = f"Showing {f.effect.positive}" if f.effect.is_shown else "Flipped"
        read, after = "", " above plain"
        if f.corrected_effect is not None:
            read, after = (
                " as the judge reads them",
                " above plain once its errors are corrected for",
            )
        said.append(
            f"{success} and undamaged: {amount(f.effect, f.joint)} of all texts{read}, "
            f"{amount(f.effect, f.gain, difference=True)}{after}."
        )
    said += [_anti_steered(f)] if f.anti_steered else []
    said += [asking_in_words(f), nulls_in_words(f)] if f.stated else []
    if f.corrected:
        said.append(_correction_in_words(f, f.corrected))
    said += [_over_controls(f, f.over_random)] if f.over_random else []
    if f.mirrored:
        way = "what still shows it" if f.effect.is_shown else f"towards {f.effect.negative}"
        said.append(
            f"The same dose the other way, {way}: "
            f"{amount(f.effect, _on_one_scale(f.effect, f.mirrored))}."
        )
    said.append(slope_in_words(f))
    said += [
        *_likely_as(f),
        f"Cost: {costs_in_words(f)}.",
        *([diversity_in_words(f)] if f.diversity else []),
    ]
    said.append(
        f"How sure: chosen among {conditions_in_words(f)} on {_chosen_on(f)}; "
        f"the chance of one this good {_where_by_chance(f)} without any effect is "
        f"{p_in_words(c.p_corrected)}; "
        f"intervals are 95 %, over {items_in_words(f)}."
    )
    said.append(layers_in_words(f))
    return said


def _where_and_how_hard(f: Findings) -> str:
    """The layer and the dose in its three units, and whether no larger one was measured there."""
    c = f.chosen
    dose = (
        f"{c.dose_natural:+g} natural ({c.dose_relative:.2f} of a typical activation, "
        f"length {c.dose_absolute:.3g})"
    )
    mine = f.summary[(f.summary.method == f.plan.method) & (f.summary.layer == c.layer)]
    edge = c.dose_natural >= mine.dose_natural.max() - 1e-6
    return (
        f"Where and how hard: {f.plan.method} added at {f.plan.stream} of layer {c.layer} (0-based), "
        f"{dose}{'; no larger dose was measured' if edge else ''}."
    )


def counted_in_words(effect: Effect) -> str:
    """What an effect is a number of; of log-odds, that it is their shift."""
    if effect.is_share:
        return effect.words
    return f"shift from plain of the {effect.words.removesuffix(' of held-out pairs')}"


def _items(f: Findings) -> str:
    """What an effect is read of."""
    return "prompts" if f.effect.is_share else "pairs"


def conditions_in_words(f: Findings) -> str:
    """The conditions that could be chosen, and after a race what was measured of them."""
    said = f"{f.chosen.n_cells} condition{'' if f.chosen.n_cells == 1 else 's'}"
    if not is_race(f.plan):
        return said
    mine = f.summary[(f.summary.method == f.plan.method) & (f.summary.dose_natural > 0)]
    on_all = int((mine.asked == mine.asked.max()).sum())
    return f"{said} (a race measured {len(mine)} of them, and {on_all} to its end)"


def _chosen_on(f: Findings) -> str:
    """What the choice was made on, beside what its effect is stated on."""
    if f.stated is None:
        return f"the very {_items(f)} that it is stated on"
    return f"other {_items(f)} than those it is stated on"


def _likely_as(f: Findings) -> list[str]:
    """Whose likelihood a text is held to, where that is not the texts without steering."""
    if f.likely_as is None:
        return []
    when_asked = "".join(
        f", and after the same words ({cost.plain.value:.2f}; steered {cost.steered.value:.2f})"
        for cost in f.less_likely
        if cost.metric == IMPLAUSIBLE_WHEN_ASKED.metric
    )
    return [
        f"Undamaged here is about as likely under the plain model as what it writes when asked by "
        f"{METHODS[f.likely_as]} ({f.likely_nats:.2f} nats per token){when_asked}: of its texts that show "
        f"{f.effect.positive} then, less than half are as likely as texts without steering. The cost "
        "is the difference to texts without steering."
    ]


def _where_by_chance(f: Findings) -> str:
    """Where the corrected p looks for an effect that is not there."""
    return f"on those {items_in_words(f)}" if f.chosen.held_out else "in a sweep"


def _over_controls(f: Findings, over_random: Estimate) -> str:
    """The effect above that of directions that mean nothing, or something else."""
    said = (
        f"Against random directions of the same length: "
        f"{amount(f.effect, over_random, difference=True)}"
    )
    if f.over_shuffled:
        shuffled = amount(f.effect, f.over_shuffled, difference=True)
        said += f"; against label-shuffled ones: {shuffled}"
    if f.over_other:
        other = amount(f.effect, f.over_other, difference=True)
        said += f". Against the direction of another concept: {other}"
    return f"{said}."


def _anti_steered(f: Findings) -> str:
    """How many items steering moved the wrong way."""
    assert f.anti_steered is not None
    share = percent(f.anti_steered)
    if not f.effect.is_share:
        return f"Anti-steered: the log-odds of {share} of the pairs moved the wrong way."
    shown = f"showed {f.effect.positive}" if f.effect.is_shown else "were flipped"
    return f"Anti-steered: {share} of the texts {shown} without steering and not with it."


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
        f"On the select split, allowing for the choice (half of the {_items(f)} choose, the other half "
        f"estimates): {amount(f.effect, best.corrected, difference=True)} {change}against "
        f"{amount(f.effect, best.naive, difference=True)} without; half of them choose this "
        f"very condition in {100 * best.same_share:.0f} % of splits."
    )


def slope_in_words(findings: Findings) -> str:
    """Effect per natural unit at the chosen layer."""
    f = findings
    if f.card is not None and not f.card.tells:
        return "Slope: none is stated, since the judge cannot tell."
    if f.slope is None:
        return f"Slope: none is stated, since {f.no_slope.rstrip('.')}."
    model = " of the linear probability model" if f.effect.is_share else ""
    doses = "positive doses" if f.effect.is_share else "doses"
    items = items_in_words(f)
    p = f"p = {f.slope.p:.2g}" if f.slope.p >= _LEAST_P else f"p < {_LEAST_P:g}"
    return (
        f"Slope{model} at layer {f.chosen.layer}, mean over {items}: "
        f"{amount(f.effect, f.slope.slope, difference=True)} per natural unit over the {doses} "
        f"measured, {f.slope.slope.n} {items}, {p}; the response is a sigmoid, so that "
        "other doses have another slope."
    )


def costs_in_words(findings: Findings) -> str:
    """Every cost from plain to steered, and the KL."""
    parts = [f"KL {number(findings.kl)} nats per position of the prompts"]
    if not math.isnan(findings.kl_written):
        other = "" if math.isnan(findings.js_written) else _other_divergences(findings)
        parts.append(f"KL {findings.kl_written:.2f} nats per token written{other}")
    for cost in findings.costs:
        if cost.is_share:
            change = f"{100 * cost.plain.value:.1f} % to {100 * cost.steered.value:.1f} %"
        else:
            change = f"{cost.plain.value:.2f} to {cost.steered.value:.2f}"
        out = f" (read in {cost.read} of {cost.asked} texts)" if cost.read < cost.asked else ""
        parts.append(f"{cost.words} {'unknown' if math.isnan(cost.steered.value) else change}{out}")
    return "; ".join(parts)


def _other_divergences(f: Findings) -> str:
    return f" (reverse {f.kl_reverse:.2f}, Jensen-Shannon {f.js_written:.3f} of at most 0.693)"


def diversity_in_words(f: Findings) -> str:
    """How different the samples of a prompt are, with and without steering."""
    parts = [
        f"{d.words} {_spread(d.plain)} plain and {_spread(d.steered)} steered" for d in f.diversity
    ]
    return f"Diversity of {f.plan.samples} samples of a prompt: {'; '.join(parts)}."


def _spread(found: Estimate) -> str:
    """A number with its interval, or that it is not known."""
    if math.isnan(found.value):
        return "not known"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
