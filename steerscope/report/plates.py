"""The figures of a study or a sweep."""

from __future__ import annotations

import json

from steerscope import figures
from steerscope.findings import Findings, find, reference_dose
from steerscope.report.features import feature_plates
from steerscope.report.page import Plate
from steerscope.results import Run
from steerscope.studies import LIMITS
from steerscope.zoning import one_run_in_words, run_league, zones_of


def plates(run: Run, findings: Findings | None = None) -> list[Plate]:
    """Every figure that the rows of a run can give."""
    f = findings or find(run)
    method, dose = f.plan.method, reference_dose(f)
    n = int(f.summary.n.min()) if len(f.summary) else 0
    what = "prompts" if f.effect.is_share else "pairs"
    found = [
        Plate(
            "layer_sweep",
            figures.layer_sweep(f.summary, f.effect, method=method, dose=dose),
            f"Select split, at least {n} {what} a point, bands are 95 % intervals (bootstrap); the "
            f"null is {f.plan.n_sweep_controls} random directions of that length a layer, averaged.",
        ),
        Plate(
            "sweet_spot_map",
            figures.sweet_spot_map(f.summary, f.effect, method=method, chosen=f.chosen),
            f"Select split, at least {n} {what} a cell. A cross marks a condition that breaks a "
            f"limit: {_limits_in_words(f)}. Negative doses are measured on prompts of the other "
            "class. The ring is the choice.",
        ),
    ]
    if f.stated:
        found.append(
            Plate(
                "dose_response",
                figures.dose_response(f.curves, f.effect, layer=f.chosen.layer, plain=f.plain),
                f"Test split, n = {f.stated.n} {what} at the chosen dose. The band of {method} is "
                f"its 95 % interval (bootstrap over {what}); the bands of the controls reach from "
                "their lowest to their highest seed.",
            )
        )
    found.append(
        Plate(
            "kl_by_depth",
            figures.kl_by_depth(f.summary, method=method),
            "Mean over the positions of the select prompts, teacher-forced, position 0 left out; "
            "logarithmic axis.",
        )
    )
    if f.heads is not None and f.predictor is not None:
        c = f.predictor.correlation
        found += [
            Plate(
                "eigengap_heads",
                figures.eigengap_heads(f.heads),
                "Keys before rotation, centred, position 0 left out, pooled over the select prompts; "
                "heads that share keys count once. Bars are 95 % intervals (bootstrap over prompts); "
                "grey is what random keys of the same lengths give.",
            ),
            Plate(
                "eigengap_predicts",
                figures.diagnostic_scatter(
                    f.predictor, f.effect, x_title="smallest eigengap of the layer's heads (ratio)"
                ),
                f"Each point is a layer, its effect at {dose:g} natural on the select split. The "
                f"claim under test is a negative correlation; measured is {c.rho:+.2f} "
                f"[{c.low:+.2f}, {c.high:+.2f}], permutation p = {c.p:.2g}, n = {c.n} layers.",
            ),
        ]
    found += _league_plates(f)
    found += feature_plates(run)
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


def _league_plates(f: Findings) -> list[Plate]:
    """What goes along with the effect over the layers, where there are enough of them."""
    zoning = zones_of(f)
    league = None if zoning is None else run_league(f, zoning)
    if zoning is None or league is None:
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
    there = {c.removeprefix("cost_") for c in f.summary.columns[f.summary.notna().any()]}
    parts = [
        f"{limit.words} by {limit.worsening:g}"
        if limit.metric == "nll_plain"
        else f"{limit.words} by {100 * limit.worsening:g} points"
        for limit in LIMITS
        if limit.metric in there
    ]
    return "worse than plain in " + ", ".join(parts)


def _lens(run: Run) -> dict:
    path = run.path / "lens.json"
    return json.loads(path.read_text()) if path.is_file() else {}
