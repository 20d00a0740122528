"""The figures of a study or a sweep."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pandas as pd

from steerscope import figures
from steerscope.figures.files import Plate
from steerscope.report.features import feature_plates
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import Run
from steerscope.studies.steering.cheap_number import cheap_number
from steerscope.studies.steering.drift import drift_table
from steerscope.studies.steering.findings import Findings, fewest_items, find, items_in_words
from steerscope.studies.steering.plan import dose_unit, reference_dose
from steerscope.studies.steering.responses import Predictor
from steerscope.studies.steering.zones import (
    Zoning,
    one_run_in_words,
    run_league,
    zones_of,
)
from steerscope.texts.showing import shortened

_ENOUGH_LAYERS = 12  # of fewer, a rank correlation below 0.7 is seldom told from chance


def _kl_axis(f: Findings) -> str:
    """What the axis of the KL is, or why there is none."""
    if (f.summary.kl_nats > 0).any():
        return "a logarithmic axis"
    return f"0 throughout, where no position of a prompt is in scope {f.plan.scope}"


def plates(run: Run, findings: Findings | None = None) -> list[Plate]:
    """Every figure that the rows of a run can give."""
    f = findings or find(run)
    method, unit = f.plan.method, dose_unit(f.plan)
    dose = reference_dose(f.plan, f.summary[f"dose_{unit}"])
    n = fewest_items(f.summary)
    what = items_in_words(f)
    zoning = zones_of(f)
    found = [
        Plate(
            "layer_sweep",
            figures.layer_sweep(f.summary, f.effect, method=method, dose=dose, unit=unit),
            f"Select split, at least {n} {what} a point, bands are 95 % intervals over "
            f"{what}; {_null_in_words(f.summary)}.",
        ),
        Plate(
            "sweet_spot_map",
            figures.sweet_spot_map(
                f.summary,
                f.effect,
                method=method,
                chosen=f.chosen,
                unit=unit,
                zones=None if zoning is None else zoning.table,
                texts=_one_of_each(run),
            ),
            f"Select split, at least {n} {what} a cell. A cross: a limit is broken or unknown; the ring: the "
            f"choice. {_negative_doses(f)}",
            f"A condition breaks a limit where {_limits_in_words(f)}.{_strip_in_words(zoning)}",
        ),
    ]
    if f.stated:
        found.append(
            Plate(
                "dose_response",
                figures.dose_response(f.curves, f.effect, layer=f.chosen.layer),
                f"Test split, n = {f.stated.n} {what} at the chosen dose. The band of {method} is "
                f"its 95 % interval over {what}{_bands_of_controls(f)}. Dotted is the plain model"
                f"{' on the prompts of either sign' if f.effect.is_share else ''}.",
            )
        )
    found += _dose_plates(f, n, what) + _drift_plates(run, f)
    found.append(
        Plate(
            "kl_by_depth",
            figures.kl_by_depth(f.summary, method=method, unit=unit),
            f"Mean over the positions of the select prompts ({int(f.summary.asked.min())} or more a point), teacher-forced, "
            f"position 0 left out; {_kl_axis(f)}, drawn without intervals.",
        )
    )
    found += _preference_plates(run, f)
    if f.heads is not None and f.predictor is not None:
        found += _eigengap_plates(f, f.heads, f.predictor)
    found += [*_league_plates(f, zoning), *feature_plates(run)]
    lens = _lens(run)
    if lens.get("for"):
        found.append(
            Plate(
                "token_effects",
                figures.token_effects(lens["for"], lens["against"], site=lens["site"]),
                f"Direct path only: final norm's gain and unembedding, at the {lens['place']}.",
            )
        )
    return found


def _seeds_of(summary: pd.DataFrame) -> int:
    """Random directions that were measured at a layer, the most of any."""
    null = summary[summary.method == "random"]
    return int(null.groupby("layer").seed.nunique().max()) if len(null) else 0


def _bands_of_controls(f: Findings) -> str:
    """What the bands of random and label-shuffled directions are, where there are any."""
    controls = f.curves[f.curves.method != f.plan.method]
    if controls.empty:
        return ""
    lost = _not_drawn(f"{d:+g}" for d in controls.dose_natural[controls.n_lost > 0])
    if (controls.n_seeds + controls.n_lost).max() == 1:
        return f"; that of a control, which is one direction, is its own interval{lost}"
    return f"; the bands of the controls reach from their lowest to their highest seed{lost}"


def _null_in_words(summary: pd.DataFrame) -> str:
    """What the layers are held against."""
    n, null = _seeds_of(summary), summary[summary.method == "random"]
    if not n:
        return "no random directions were measured beside it"
    kind = "one random direction" if n == 1 else f"{n} random directions"
    band = ", averaged, its band from their lowest to their highest" if n > 1 else ""
    lost = _not_drawn(f"layer {layer}" for layer in null.layer[null.effect.isna()])
    return f"the null is {kind} of that length a layer{band}{lost}"


def _not_drawn(places: Iterable[str]) -> str:
    """Where no null is drawn, since that of those that an overflow leaves would be another."""
    named = ", ".join(dict.fromkeys(places))
    return f"; none is drawn where nothing is known of one ({named})" if named else ""


def _one_of_each(run: Run) -> dict[str, str]:
    """By condition of the select split, the first text that was written under it, on one line."""
    texts = run.texts()
    first = texts[texts.split == "select"].drop_duplicates("cell")
    return {c: shortened(w, 180) for c, w in zip(first.cell, first.written, strict=True)}


def _negative_doses(f: Findings) -> str:
    """What negative doses are measured on; empty where there are none."""
    if not (f.summary.dose_natural < 0).any():
        return ""
    if not f.effect.is_share:
        return "A negative dose is read on the same pairs, as the shift towards the negative text. "
    if f.effect.is_shown:
        return (
            "A negative dose is read on the same prompts; its share is that of the same concept. "
        )
    return "Negative doses are measured on prompts of the other class. "


def _dose_plates(f: Findings, n: int, what: str) -> list[Plate]:
    """The layers' answers to the dose."""
    method = f.plan.method
    null = f.curves[f.curves.method == "random"]
    seeds = int((null.n_seeds + null.n_lost).max()) if len(null) else 0
    where = f"of the same lengths at layer {f.chosen.layer}, on the {'test' if f.stated else 'select'} split"
    band = ""
    if seeds == 1:
        band = f" The band is the 95 % interval of one random direction {where}."
    elif seeds > 1:
        band = f" The band reaches from the lowest to the highest of {seeds} random directions {where}."
        null = null.assign(low=null.lowest_seed, high=null.highest_seed)
    lost = _not_drawn(f"{d:+g}" for d in null.dose_natural[null.n_lost > 0])
    band = f"{band[:-1]}{lost}." if band else ""
    return [
        Plate(
            "dose_fan",
            figures.dose_fan(f.summary, null, f.effect, method=method),
            f"Select split, at least {n} {what} a point, means; the intervals stand in the table of "
            f"conditions.{band}",
        )
    ]


def _drift_plates(run: Run, f: Findings) -> list[Plate]:
    """What the chosen steering changes beside what it was asked for, where texts were written."""
    if not (f.stated and f.effect.is_share):
        return []
    c = f.chosen
    drift = drift_table(
        run.table(),
        f.effect,
        split="test",
        layer=c.layer,
        dose_natural=c.dose_natural,
        methods=(f.plan.method, "random"),
        groups=groups_of(run),
    )
    where = f"{f.plan.method} at layer {c.layer}, {c.dose_natural:+g} natural"
    return [
        Plate(
            "side_effects",
            figures.side_effects(drift, condition=where),
            f"Test split, n = {int(drift.n.max())} {items_in_words(f)}, paired with plain; bars are 95 % "
            "intervals over them. Lost is net: the share of texts that have it under plain minus that here."
            f"{_no_mean(int(drift.n_lost.max()))}",
        )
    ]


def _no_mean(n_lost: int) -> str:
    """Why no level of random directions is drawn, where some of them overflowed."""
    if not n_lost:
        return ""
    of = "one random direction" if n_lost == 1 else f"{n_lost} random directions"
    return f" No mean of random directions is drawn, since logits of {of} are not finite."


def _preference_plates(run: Run, f: Findings) -> list[Plate]:
    """What the model prefers against what its texts show, where both were measured."""
    cheap = cheap_number(run.table(), f.effect)
    if cheap is None:
        return []
    c = cheap.correlation
    told = f"Over {c.n} conditions a rank correlation is not known."
    if c.low == c.low:
        told = (
            f"The rank correlation is {c.rho:+.2f} {c.interval} over {c.n} conditions; "
            "neighbouring doses are alike, so that the interval is too narrow rather than too wide."
        )
    elif c.rho == c.rho:
        told = f"The rank correlation is {c.rho:+.2f} over {c.n} conditions: one order, of which there is no interval."
    if f.card is not None and not f.card.tells:
        told += " The judge cannot tell, so that neither does the upright axis."
    return [
        Plate(
            "preference_tells",
            figures.preference_scatter(cheap, f.effect),
            "Select split, every steered condition at either sign, nulls among them. Both axes are "
            f"changes from plain. {told}",
        )
    ]


def _strip_in_words(zoning: Zoning | None) -> str:
    if zoning is None:
        return ""
    return (
        f" The strip above has the zone of each layer at {zoning.dose_relative:.2f} of a typical "
        "activation; ringed in black where the interval that decides it holds the limit."
    )


def _eigengap_plates(f: Findings, heads: pd.DataFrame, predictor: Predictor) -> list[Plate]:
    """Eigengap of every head, and of many layers what the weakest of one tells about its effect."""
    c = predictor.correlation
    found = [
        Plate(
            "eigengap_heads",
            figures.eigengap_heads(heads),
            "Keys before rotation, centred, position 0 left out, pooled over the select prompts; "
            "heads that share keys count once. Bars are 95 % intervals (over prompts, corrected for "
            "the bias of a sample); grey is what random keys of the same lengths give.",
        )
    ]
    if c.n < _ENOUGH_LAYERS:
        return found
    measured = (
        f"measured is {c.rho:+.2f} {c.interval}, p = {c.p:.2g} by orders of the layers that keep "
        f"neighbours, n = {c.n}."
        if c.rho == c.rho
        else f"it is not known, since all {c.n} layers are alike in one of the two."
    )
    return [
        *found,
        Plate(
            "eigengap_predicts",
            figures.diagnostic_scatter(
                predictor, f.effect, x_title="smallest eigengap of the layer's heads (ratio)"
            ),
            f"Each point is a layer, its effect at {_reference_in_words(f)} on the select split. "
            f"The claim under test is a negative correlation; {measured}",
        ),
    ]


def _reference_in_words(f: Findings) -> str:
    """The dose at which layers are compared, with its unit."""
    unit = dose_unit(f.plan)
    return f"{reference_dose(f.plan, f.summary[f'dose_{unit}']):g} {unit}"


def _league_plates(f: Findings, zoning: Zoning | None) -> list[Plate]:
    """What goes along with the effect over the layers, where there are enough of them."""
    league = None if zoning is None else run_league(f, zoning)
    if zoning is None or league is None or int(league.n_layers.max()) < _ENOUGH_LAYERS:
        return []
    return [
        Plate(
            "layer_league",
            figures.predictor_league(
                league, outcome=f"the effect at {zoning.dose_relative:.2f} of an activation"
            ),
            f"Select split. The sign in brackets was stated beforehand. {one_run_in_words(league)}",
        )
    ]


def _limits_in_words(f: Findings) -> str:
    likely = "; likelihood is held to texts that were asked for" if f.likely_as else ""
    return (
        f"its mean is worse than that of the plain texts in one of {', '.join(c.words for c in f.costs)}, by "
        "more than two of their standard deviations (at most what the judge allows, and of a share at "
        f"least 5 points){likely}"
    )


def _lens(run: Run) -> dict:
    path = run.path / "lens.json"
    return json.loads(path.read_text()) if path.is_file() else {}
