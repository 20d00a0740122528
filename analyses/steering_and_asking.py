"""Steering, asking, both, projecting out, an adapter and features: effect against damage on one chart.

Run from the project's folder: `python analyses/steering_and_asking.py`. The rows and the adapter, which is
trained where none is named, go to `data/runs/asking/`, the figure to `figures/`. Static pictures need
`steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from pathlib import Path

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
from steerscope.judges.effects import Effect
from steerscope.progress import bar
from steerscope.runs.distinct import groups_of
from steerscope.sae import load_sae
from steerscope.steering.prompting import METHODS
from steerscope.studies.bench import Bench, Material
from steerscope.studies.features.candidates import candidates
from steerscope.studies.judging import Judging, find_judge
from steerscope.studies.steering.asking import asking_cells
from steerscope.studies.steering.prepare import question_of
from steerscope.studies.steering.stated import Stated
from steerscope.studies.steering.success import PLAIN, estimate, undamaged
from steerscope.studies.steering.texts import Texts, load_texts
from steerscope.texts.contrasts import ContrastSet, PromptSet
from steerscope.weights.adapter import (
    Adapted,
    AdapterDesign,
    TrainingPlan,
    crossed,
    find_objective,
    frozen_ruler,
    load_adapter,
    save_adapter,
    train_adapter,
)
from steerscope.weights.places import Place

DOSES = (1.0, 2.0, 3.0, 4.0)
COEFFICIENTS = (0.5, 1.0, 2.0)


def main() -> None:
    """Measure every condition on the same held-out prompts, print the numbers, draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contrasts", default="mood", help="bundled name")
    parser.add_argument("--prompts", type=int, default=100, help="held-out prompts to continue")
    parser.add_argument("--n-new", type=int, default=48, help="tokens of each text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judge", help="as of a report; default the oracle")
    parser.add_argument(
        "--adapter", help="that `steerscope adapter train` wrote; default one is trained"
    )
    parser.add_argument("--pairs", type=int, default=72, help="that it is trained on, at most")
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    plan = StudyPlan(
        contrasts=options.contrasts, seed=options.seed, n_new=options.n_new, judge=options.judge
    )
    out = ROOT / "data/runs/asking" / (options.contrasts + ("-judged" if options.judge else ""))
    model, texts = load_model(plan.model), load_texts(plan)
    judging = find_judge(question_of(plan, texts, 1), model, out)
    adapter = Path(options.adapter or out.with_suffix(".adapter.safetensors"))
    if not adapter.is_file():
        train(model, texts.contrasts, adapter, options)
    kinds = [*conditions(plan, model, texts), *adapted(model, adapter)]
    run = measure(plan, (model, texts, judging), kinds, out, options)
    effect = judging.judge.effect
    rows = measured(run, effect, [("plain", "plain", Cell()), *kinds])
    if judging.known is not None:
        print(judging.known.card)
    print(f"{rows.n.max()} held-out prompts, {effect.words}:")
    print(rows.round(3).to_string(index=False))
    figure = effect_and_damage(rows, effect=effect.short)
    save(f"steering-and-asking-{out.name}", figure, options.format)


def measure(
    plan: StudyPlan,
    given: tuple[LensModel, Texts, Judging],
    kinds: list[tuple[str, str, Cell]],
    out: Path,
    options: argparse.Namespace,
) -> Run:
    """Every condition on the same held-out prompts, those that have room for a positive dose."""
    model, texts, judging = given
    judge = judging.judge
    room = [p for p in texts.prompts.test.prompts if judge.applies(p, 1)][: options.prompts]
    settings = {k: v for k, v in vars(options).items() if k != "format"}
    run = Run.start(
        out,
        {"kind": "steering and asking", **settings, **judging.settings},
        provenance={"fingerprint": model.fingerprint},
    )
    judging.keep(run)
    decoding = Decoding(plan.n_new, Sample(plan.temperature, plan.seed))
    material = Material("test", PromptSet("room", tuple(room)), texts.pairs.test)
    bench = Bench(model, judge, material, run, decoding)
    bench.measure([cell for _, _, cell in kinds], progress=bar)
    return run


def train(
    model: LensModel, contrasts: ContrastSet, path: Path, options: argparse.Namespace
) -> None:
    """An adapter of the weights, by the usual objective, from pairs of the fit split alone."""
    parts = contrasts.split(options.seed)
    n = model.shape.n_layers
    layers = range(n // 8, 5 * n // 8)
    matrices = tuple(Place(name, layer) for name in ("o", "down") for layer in layers)
    splits = tuple(
        ContrastSet(part.name, crossed(part).pairs[:count])
        for part, count in ((parts.fit, options.pairs), (parts.select, options.pairs // 3))
    )
    adapter, _ = train_adapter(
        model,
        (splits[0], splits[1]),
        design=AdapterDesign(matrices=matrices, rank=96, columns="singular"),
        ruler=frozen_ruler(model, parts.fit, (7 * n // 10,)),
        objective=find_objective("preference", "log_sigmoid"),
        plan=TrainingPlan(epochs=3, learning_rate=1e-2, batch_pairs=6),
        progress=bar,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_adapter(path, adapter)


def adapted(model: LensModel, path: Path) -> list[tuple[str, str, Cell]]:
    """Kind, name and condition of an adapter at its coefficients."""
    adapter = load_adapter(path, model)
    return [
        ("adapter of the weights", f"{c:g}", Cell((Adapted(adapter, c),))) for c in COEFFICIENTS
    ]


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
    groups = groups_of(run)
    stated = Stated(table, effect, "test", groups)
    costs = stated.costs
    good = undamaged(costs.values, costs.limits, PLAIN, costs.likely_as)
    written = table[table.metric == "kl_written"].groupby("cell").value.mean()
    rows = []
    for kind, name, cell in kinds:
        shown, bad, joint = (
            estimate(values.loc[cell.key], groups, "test", effect.metric, share=True)
            for values in (stated.values.fillna(0.0), 1.0 - good.astype(float), stated.success)
        )
        row = {"kind": kind, "name": name, "effect": shown.value, "low": shown.low}
        row |= {"high": shown.high, "damaged": bad.value, "damaged_low": bad.low}
        row |= {"damaged_high": bad.high, "effect_undamaged": joint.value}
        rows.append(row | {"kl_written": written.get(cell.key, 0.0), "n": shown.n})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
