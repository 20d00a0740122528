"""Checks of how the layer and dose were chosen, and of what they would be on other prompts."""

from __future__ import annotations

import numpy as np

from steerscope.audits.evidence import Evidence
from steerscope.audits.finding import Finding
from steerscope.errors import NotCheckedError
from steerscope.studies.steering.choice import cheapest, eligible
from steerscope.studies.steering.plan import StudyPlan, is_race
from steerscope.studies.steering.responses import responses

_LEVEL = 0.05
_N_RESAMPLES = 1000
_MARGIN = 0.02  # of the best effect, within which the cheapest is taken, as `sweet_spot` does
_STABLE = 0.8  # share of resamples
_ONE_PROMPT = 0.2  # of the effect
_DIGITS = 4  # by which a dose is told from another


def uncorrected_choice(evidence: Evidence) -> list[Finding]:
    """The best of many conditions is no better than the best of as many without an effect.

    Raises:
        NotCheckedError: nobody knows how good that is.
    """
    chosen = evidence.findings.chosen
    if np.isnan(chosen.p_corrected):
        raise NotCheckedError("too few distinct items to tell how often one is this good by chance")
    if chosen.p_corrected <= _LEVEL:
        return []
    chance = (
        "held-out items, which chose nothing, show this much without any effect with "
        if chosen.held_out
        else "a sweep without any effect has one this good with "
    )
    return [
        Finding(
            "error",
            f"it is the best of {chosen.n_cells} conditions, and {chance}p = {chosen.p_corrected:.2g}",
            f"layer {chosen.layer}, {chosen.dose_natural:+g} natural, "
            f"{'test' if chosen.held_out else 'select'} split",
            "Claim no sweet spot, or sweep fewer conditions on more prompts",
            {"conditions": chosen.n_cells, "p_corrected": chosen.p_corrected},
        )
    ]


def edge_of_grid(evidence: Evidence) -> list[Finding]:
    """The choice lies at the end of the doses or layers that were tried."""
    f = evidence.findings
    layer, dose = f.chosen.layer, f.chosen.dose_natural
    rows = f.summary[f.summary.method == f.plan.method]
    doses = rows.dose_natural[rows.layer == layer]
    found = []
    if np.isclose(dose, doses.max()):
        found.append(
            Finding(
                "warning",
                f"the chosen dose, {dose:g} natural, is the largest that was tried",
                f"layer {layer}, select split",
                "Try larger doses until the effect falls or something breaks",
                {"dose_natural": dose},
            )
        )
    layers = sorted(map(int, rows.layer.unique()))
    n_layers = evidence.run.description["provenance"].get("shape", {}).get("n_layers")
    open_ends = {layers[0]: layers[0] > 0, layers[-1]: layers[-1] < (n_layers or 0) - 1}
    if len(layers) > 1 and open_ends.get(layer):
        found.append(
            Finding(
                "warning",
                f"the chosen layer is at the end of those tried, {layers[0]} to {layers[-1]} of "
                f"{n_layers}",
                f"layer {layer}, select split",
                "Try the layers beyond it",
                {"first": layers[0], "last": layers[-1], "layers": n_layers},
            )
        )
    return found


def unstable_layer(evidence: Evidence) -> list[Finding]:
    """On other prompts of the same kind another layer would have been chosen."""
    layers = chosen_layers(evidence)
    chosen = evidence.findings.chosen.layer
    share = float((layers == chosen).mean())
    if share >= _STABLE:
        return []
    often = {int(i): float((layers == i).mean()) for i in np.unique(layers)}
    rivals = ", ".join(f"{i} ({s:.0%})" for i, s in sorted(often.items(), key=lambda x: -x[1])[:4])
    among = (
        " among those that the race measured on all prompts"
        if is_race(evidence.findings.plan)
        else ""
    )
    return [
        Finding(
            "note",
            f"in {share:.0%} of {_N_RESAMPLES} resamples of the prompts layer {chosen} is chosen{among}; "
            f"the layers chosen are {rivals}",
            f"layer {chosen}, select split",
            "Name the layers that do as well rather than one of them",
            {f"share_layer_{i}": s for i, s in often.items()},
        )
    ]


def chosen_layers(evidence: Evidence, *, seed: int = 0) -> np.ndarray:
    """The layer that each of many bootstrap resamples of the select prompts would have chosen.

    What counts as broken is taken from all prompts. An effect is the mean of the texts that could be
    read, as in the choice, and a prompt is drawn with all its texts.

    Raises:
        NotCheckedError: no text could be read.
    """
    f = evidence.findings
    pool = eligible(f.summary, f.plan.method)
    effects = responses(evidence.table, evidence.effect, "select").loc[pool.cell]
    effects = effects.dropna(axis=1, how="all")
    if not effects.shape[1]:
        raise NotCheckedError("no text of the select split could be read")
    names, members = np.unique(evidence.distinct(effects.columns, "select"), return_inverse=True)
    n = len(names)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=_N_RESAMPLES)[:, members]
    read = weights @ effects.notna().to_numpy(float).T
    sums = weights @ effects.fillna(0.0).to_numpy(float).T
    means = np.divide(sums, read, out=np.full(sums.shape, -np.inf), where=read > 0)
    best = means.max(axis=1, keepdims=True)
    kl = cheapest(pool).to_numpy(float)
    kl = np.where(means >= best - _MARGIN * np.abs(best), kl, np.inf)
    return pool.layer.to_numpy(int)[kl.argmin(axis=1)]


def one_prompt_decides(evidence: Evidence) -> list[Finding]:
    """Without one prompt, and all texts of it, the effect is another."""
    values = evidence.over_random
    estimate = evidence.mean(values)
    if estimate.n < 3 or not estimate.low > 0:
        return []
    by_prompt = values.groupby(evidence.distinct(values.index))
    left = (values.sum() - by_prompt.sum()) / (len(values) - by_prompt.size())
    without, prompts = left.to_numpy(), [int(items.index[0]) for _, items in by_prompt]
    change = np.abs(without - estimate.value) / estimate.value
    worst = int(change.argmax())
    if change[worst] <= _ONE_PROMPT:
        return []
    prompt = prompts[worst]
    return [
        Finding(
            "warning",
            f"without prompt {prompt} the effect minus that of random directions is {without[worst]:.3g} and not "
            f"{estimate.value:.3g} {evidence.unit}",
            evidence.place,
            "Read what that prompt gives, and state the median beside the mean",
            {"prompt": prompt, "effect": estimate.value, "without": float(without[worst])},
        )
    ]


def missing_conditions(evidence: Evidence) -> list[Finding]:
    """Some layers or doses of the grid were not measured, so the choice is among the others.

    In a race every layer has to have started, which it does at the reference dose among others.
    """
    f, plan = evidence.findings, evidence.plan
    rows = f.summary[f.summary.method == plan.method]
    doses = rows[f"dose_{getattr(plan, 'unit', 'natural')}"].round(_DIGITS)
    seen = set(zip(rows.layer.astype(int), doses, strict=True))
    layers = sorted({*(plan.layers or ()), *rows.layer.astype(int)})
    wanted = sorted(set(doses))
    if isinstance(plan, StudyPlan) and is_race(plan):
        wanted = [round(plan.reference_dose, _DIGITS)]
    lacking = [(i, d) for i in layers for d in wanted if (i, d) not in seen]
    if not lacking:
        return []
    return [
        Finding(
            "error",
            f"{len(lacking)} of {len(layers) * len(wanted)} conditions of the grid are missing",
            f"layers {', '.join(map(str, sorted({i for i, _ in lacking})))}, select split",
            "Start the same command again to finish the sweep",
            {"missing": len(lacking), "conditions": len(layers) * len(wanted)},
        )
    ]
