"""Every way to find a direction against every other and against nulls, at equal doses.

Run from the project's folder: `python analyses/method_comparison.py`. The tables and the figure as
html go to `data/runs/methods/`, the picture to `figures/`. Static pictures need
`steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import Any

from _drawing import ROOT, save

from steerscope import ComparisonPlan, compare_methods, figures, load_contrasts, load_model
from steerscope.engine.matched_kl import Matching
from steerscope.progress import bar
from steerscope.studies.methods.findings import COMMON, OWN
from steerscope.studies.methods.measure import Comparison
from steerscope.studies.methods.wording import in_words
from steerscope.texts.contrasts import prompts_for

SHOWN = [
    "method", "layer", "dose_natural", "kl_nats", "effect", "low", "high", "p_holm", "standing",
]  # fmt: skip
QUICK: dict[str, Any] = {"n_null_seeds": 3, "n_pairs": 12, "n_kl_prompts": 6, "n_test": 60}


def main() -> None:
    """Measure, say what is real, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="microworld", help="bundled name, folder or hub name")
    parser.add_argument("--contrasts", default="mood", help="bundled name or file")
    parser.add_argument("--other", default="register", help="another concept, as a control")
    parser.add_argument("--kl", type=float, default=0.2, help="nats at which methods are compared")
    parser.add_argument("--relative", type=float, default=0.5, help="length, likewise")
    parser.add_argument("--quick", action="store_true", help="few texts and nulls, to try it out")
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    started = perf_counter()
    matching = Matching(
        tuple(sorted({0.05, 0.2, 1.25, 4.0, options.relative})), options.relative, options.kl
    )
    plan = ComparisonPlan(matching=matching, **(QUICK if options.quick else {}))
    contrasts = load_contrasts(options.contrasts)
    prompts = prompts_for(contrasts)
    found = compare_methods(
        load_model(options.model),
        contrasts,
        prompts,
        plan=plan,
        other=load_contrasts(options.other),
        progress=bar,
    )
    name = f"{Path(options.model).name}-{contrasts.name}"
    if options.quick:
        name += "-quick"
        print(f"a quick look, with {QUICK}: too little to tell methods apart")
    say(found, plan)
    keep(found, plan, name, options.format)
    print(f"{perf_counter() - started:.0f} seconds")


def say(found: Comparison, plan: ComparisonPlan) -> None:
    """The tables and the verdicts."""
    for (place, matching), rows in found.ranking.groupby(["place", "matching"], sort=False):
        print(f"\n{place}, {words(plan)[str(matching)]}; effect: {found.effect.words}")
        print(rows[SHOWN].round(3).to_string(index=False))
    print("\n" + "\n".join(in_words(found.ranking, found.pairs, found.effect)))


def keep(found: Comparison, plan: ComparisonPlan, name: str, image_format: str) -> None:
    """Store the tables and draw the figures."""
    out = ROOT / "data/runs/methods" / name
    out.mkdir(parents=True, exist_ok=True)
    for table in ("screen", "responses", "ranking", "pairs"):
        getattr(found, table).to_csv(out / f"{table}.csv", index=False)
    for place in (OWN, COMMON):
        figure = figures.method_forest(
            found.ranking, found.effect, place=place, matchings=words(plan)
        )
        stem = "methods" if place == OWN else "methods-common-layer"
        figure.write_html(out / f"{stem}.html", include_plotlyjs="cdn")
        if place == OWN and image_format != "html":
            save(f"{name}-methods", figure, image_format)
    print(out.relative_to(ROOT))


def words(plan: ComparisonPlan) -> dict[str, str]:
    """What is matched."""
    matching = plan.matching
    return {"kl": f"KL ({matching.kl:g} nats)", "norm": f"length ({matching.relative:g} relative)"}


if __name__ == "__main__":
    main()
