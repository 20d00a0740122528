"""Steering, asking, both together, projecting out and features: effect against damage on one chart.

Run from the project's folder: `python analyses/steering_and_asking.py`. The rows go to
`data/runs/asking/`, the figure to `figures/`. Static pictures need `steerscope[images]` and a Chrome or
Chromium.
"""

from __future__ import annotations

import argparse

import pandas as pd
from _drawing import ROOT, save

from steerscope import (
    Cell,
    Decoding,
    Dose,
    LensModel,
    Run,
    Sample,
    Steering,
    StudyPlan,
    extract,
    find_direction,
    load_model,
)
from steerscope.figures.rivals import effect_and_damage
from steerscope.judges import choose_judge
from steerscope.judges.effects import Effect
from steerscope.progress import bar
from steerscope.sae import load_sae
from steerscope.statistics import clustered_share
from steerscope.steering.prompting import METHODS
from steerscope.studies.bench import Bench, Material
from steerscope.studies.features.measure import candidates
from steerscope.studies.steering.asking import asking_cells
from steerscope.studies.steering.stated import Stated
from steerscope.studies.steering.success import NO_GROUPS, PLAIN, undamaged
from steerscope.studies.steering.texts import Texts, load_texts
from steerscope.texts.contrasts import PromptSet

DOSES = (1.0, 2.0, 3.0, 4.0)


def main() -> None:
    """Measure every condition on the same held-out prompts, print the numbers, draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contrasts", default="mood", help="bundled name")
    parser.add_argument("--prompts", type=int, default=100, help="held-out prompts to continue")
    parser.add_argument("--n-new", type=int, default=48, help="tokens of each text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    plan = StudyPlan(contrasts=options.contrasts, seed=options.seed, n_new=options.n_new)
    model, texts = load_model(plan.model), load_texts(plan)
    judge = choose_judge(texts.contrasts, texts.all_prompts)
    room = [p for p in texts.prompts.test.prompts if judge.applies(p, 1)][: options.prompts]
    kinds = conditions(plan, model, texts)
    run = Run.start(
        ROOT / "data/runs/asking" / options.contrasts,
        {
            "kind": "steering and asking",
            **{k: v for k, v in vars(options).items() if k != "format"},
        },
        provenance={"fingerprint": model.fingerprint},
    )
    decoding = Decoding(plan.n_new, Sample(plan.temperature, plan.seed))
    material = Material("test", PromptSet("room", tuple(room)), texts.pairs.test)
    bench = Bench(model, judge, material, run, decoding)
    bench.measure([cell for _, _, cell in kinds], progress=bar)
    rows = measured(run, judge.effect, [("plain", "plain", Cell()), *kinds])
    print(f"{len(room)} held-out prompts, {judge.effect.words}:")
    print(rows.round(3).to_string(index=False))
    figure = effect_and_damage(rows, effect=judge.effect.words)
    save(f"steering-and-asking-{options.contrasts}", figure, options.format)


def conditions(plan: StudyPlan, model: LensModel, texts: Texts) -> list[tuple[str, str, Cell]]:
    """Kind, name and condition: all at the layer that the bundled autoencoder reads."""
    sae = load_sae(plan.model, model=model)
    fit = texts.pairs.fit
    contrast = extract(model, fit, [sae.site])[sae.site]
    difference = find_direction("mean_diff", contrast)
    features = candidates(model, sae, contrast, fit, k=8)["features weighted"]
    found = [
        (f"steering, {sae.site}", f"{d:g}", Cell((Steering(difference, Dose(d)),))) for d in DOSES
    ]
    for cell in asking_cells(plan, model, texts, judged=True):
        [prompting] = cell.interventions
        words = METHODS[str(prompting.labels()["method"])]
        found.append((f"asking by {words}", "", cell))
        for d in DOSES[:3]:
            both = Cell((prompting, Steering(difference, Dose(d))))
            found.append((f"asking by {words} and steering", f"{d:g}", both))
    out = Cell((Steering(difference, operator="project_out"),))
    found.append(("mean difference projected out", "", out))
    found += [
        ("8 features of the autoencoder", f"{d:g}", Cell((Steering(features, Dose(d)),)))
        for d in DOSES
    ]
    return found


def measured(run: Run, effect: Effect, kinds: list[tuple[str, str, Cell]]) -> pd.DataFrame:
    """One row per condition: share with the effect, share damaged, both, and the KL of what it wrote."""
    table = run.table()
    stated = Stated(table, effect, "test", NO_GROUPS)
    good = undamaged(stated.costs.values, stated.costs.limits, PLAIN)
    written = table[table.metric == "kl_written"].groupby("cell").value.mean()
    rows = []
    for kind, name, cell in kinds:
        shown = clustered_share(stated.values.loc[cell.key].fillna(0.0).to_numpy(float))
        bad = clustered_share(1.0 - good.loc[cell.key].to_numpy(float))
        joint = clustered_share(stated.success.loc[cell.key].to_numpy(float))
        row = {"kind": kind, "name": name, "effect": shown.value, "low": shown.low}
        row |= {"high": shown.high, "damaged": bad.value, "damaged_low": bad.low}
        row |= {"damaged_high": bad.high, "effect_undamaged": joint.value}
        rows.append(row | {"kl_written": written.get(cell.key, 0.0), "n": shown.n})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
