"""Does an SVD adapter of the weights beat steering along a direction? Both signs, one KL, all costs.

Every technique gets the same pairs and splits: trained or found on the fit split, chosen on the
select split, stated on the test split. Run from the project's folder:
`python analyses/adapter_transfer.py`. The run with its page and the adapter go to
`data/runs/adapter/`, the tables and pictures to `figures/`. Static pictures need
`steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pandas as pd
from _drawing import FIGURES, ROOT, save

from steerscope import ContrastSet, LensModel, figures, load_contrasts, load_model, load_prompts
from steerscope.models.loading import load_original
from steerscope.progress import bar
from steerscope.report import write_report
from steerscope.studies.transfer.findings import OUTCOMES, against, odd_and_even, transfer_table
from steerscope.studies.transfer.matching import steering_by_validation
from steerscope.studies.transfer.measure import transfer
from steerscope.studies.transfer.plan import TransferPlan
from steerscope.studies.transfer.runs import store_transfer
from steerscope.studies.transfer.techniques import (
    LinearTrainee,
    Technique,
    prompting,
    steering_technique,
    trained_technique,
    weights_technique,
)
from steerscope.studies.transfer.wording import verdicts
from steerscope.weights.adapter import (
    AdapterDesign,
    FullTrainee,
    Objective,
    TrainingPlan,
    crossed,
    frozen_ruler,
    save_adapter,
    train_adapter,
)
from steerscope.weights.adapter.lora import LoraTrainee
from steerscope.weights.places import Place

NAME = "svd_adapter"
PANELS = {
    "target": "share in the positive class",
    "kept_topic": "topic kept (share)",
    "kept_register": "register kept (share)",
    "nll_plain": "nats per token, plain model",
}
OBJECTIVE = Objective(
    aim="preference", beta=0.3, gamma=5.0, coherence=0.0, kl=3.0, kl_margin=0.05, monotonicity=0.1
)


def main() -> None:
    """Train, match, measure, say, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="microworld", help="bundled name, folder or hub name")
    parser.add_argument("--contrasts", default="mood", help="bundled name or file")
    parser.add_argument("--kl", type=float, default=0.1, help="nats at which they are compared")
    parser.add_argument("--pairs", type=int, default=72, help="crossed pairs trained on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=100, help="held-out prompts")
    parser.add_argument("--rank", type=int, default=96, help="of the adapter")
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    started = perf_counter()
    model, contrasts = load_model(options.model), load_contrasts(options.contrasts)
    prompts = load_prompts(options.contrasts)
    plan = TransferPlan(kl=options.kl, n_prompts=options.prompts, n_pairs=60, n_new=24)
    name = f"{Path(options.model).name}-{contrasts.name}"
    out = ROOT / "data/runs/adapter" / name
    out.mkdir(parents=True, exist_ok=True)
    found = steered(model, contrasts, options, plan) + trained(model, contrasts, options, out)
    rows = transfer(model, found, contrasts, prompts, plan=plan, progress=bar)
    kept = store_transfer(out / "run", rows, by_adapter_first(found), model, contrasts, plan)
    print(f"report: {write_report(kept)}")
    report(rows, found, options.kl, f"{name}-adapter")
    draw(rows, options.kl, name, options.format)
    print(f"{perf_counter() - started:.0f} seconds")


def steered(
    model: LensModel, contrasts: ContrastSet, options: argparse.Namespace, plan: TransferPlan
) -> list[Technique]:
    """What needs no training; layers are chosen on the select split, the null takes the same."""
    prompts = load_prompts(options.contrasts)
    fit = contrasts.split(plan.seed).fit
    mean = steering_by_validation(model, contrasts, prompts, "mean_diff", plan)
    layer = int(mean.where.rsplit(".", 1)[1])
    others = [steering_technique(model, fit, m, layer) for m in ("pca_uncentred", "random")]
    return [mean, *others, prompting(fit)]


def trained(
    model: LensModel, contrasts: ContrastSet, options: argparse.Namespace, out: Path
) -> list[Technique]:
    """The adapter, LoRA of the same matrices and the fine-tuning of all, by one objective."""
    parts = contrasts.split(0).map(crossed)
    splits = (first(parts.fit, options.pairs), first(parts.select, options.pairs // 3))
    n = model.shape.n_layers
    layers = range(n // 8, 5 * n // 8)
    matrices = tuple(Place(name, i) for name in ("o", "down") for i in layers)
    ruler = frozen_ruler(model, contrasts.split(0).fit, (7 * n // 10,))
    design = AdapterDesign(matrices=matrices, rank=options.rank, columns="singular")
    plan = TrainingPlan(epochs=options.epochs, learning_rate=1e-2, batch_pairs=6)
    adapter, history = train_adapter(
        model, splits, design=design, ruler=ruler, objective=OBJECTIVE, plan=plan, progress=bar
    )
    save_adapter(out / "adapter.safetensors", adapter)
    print("adapter, validation loss:", [round(e.validation, 3) for e in history.history])
    lora = LoraTrainee(load_original(options.model), matrices, rank=4)
    rest: list[tuple[LinearTrainee, TrainingPlan]] = [
        (lora, replace(plan, learning_rate=5e-3)),
        (FullTrainee(model), replace(plan, learning_rate=5e-4)),
    ]
    return [
        weights_technique(adapter),
        *(
            trained_technique(
                model, t, splits, ruler=ruler, objective=OBJECTIVE, plan=p, progress=bar
            )
            for t, p in rest
        ),
    ]


def by_adapter_first(found: list[Technique]) -> list[Technique]:
    """The techniques with the one that all are compared with in front."""
    return sorted(found, key=lambda technique: technique.name != NAME)


def first(pairs: ContrastSet, count: int) -> ContrastSet:
    """The first pairs of a set."""
    return replace(pairs, pairs=pairs.pairs[:count])


def report(rows: pd.DataFrame, found: list[Technique], kl: float, stem: str) -> None:
    """Print and store the tables and the verdicts."""
    table = transfer_table(rows)
    sizes = pd.DataFrame([(t.name, t.where, t.n_parameters) for t in found])
    sizes.columns = ["technique", "where", "parameters"]
    table = table.merge(sizes, on="technique", how="left")
    parts = pd.concat([odd_and_even(rows, m).assign(metric=m) for m in rows.metric.unique()])
    compared = pd.concat([against(rows, m, NAME).assign(metric=m) for m in OUTCOMES])
    said = verdicts(rows, NAME, kl=kl)
    named = {"conditions": table, "odd_and_even": parts, "at_one_kl": compared, "techniques": sizes}
    for name, content in named.items():
        content.to_csv(FIGURES / f"{stem}-{name}.csv", index=False)
    matched = table[table.matched.astype(bool)]
    wide = matched.pivot_table(index=["technique", "coefficient"], columns="metric", values="value")
    everything = table.pivot_table(
        index=["technique", "coefficient", "matched"], columns="metric", values="value"
    )
    sections = [
        ("At the matched KL", wide.reset_index()),
        ("Techniques", sizes),
        ("Paired at the matched KL", compared),
        ("Odd and even parts of the target", parts[parts.metric.isin(["target", "nll_plain"])]),
        ("Every condition", everything.reset_index()),
    ]
    text = "\n\n".join(f"## {title}\n\n{as_markdown(content)}" for title, content in sections)
    listed = "\n".join(f"* {line}" for line in said)
    (FIGURES / f"{stem}-table.md").write_text(
        f"# Transfer\n\n{listed}\n\n{text}\n", encoding="utf-8"
    )
    print(wide.round(3).to_string())
    print(compared.round(3).to_string(index=False))
    print("\n".join(said))


def as_markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, numbers to three places."""
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|---" * table.shape[1] + "|"]
    for row in table.itertuples(index=False):
        cells = (f"{v:.3f}" if isinstance(v, float) else str(v) for v in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: pd.DataFrame, kl: float, name: str, image_format: str) -> None:
    """The answer to the coefficient, and the techniques at one KL."""
    drawn = {
        "responses": figures.transfer_responses(transfer_table(rows), PANELS),
        "one_kl": figures.transfer_at_one_kl(
            against(rows, "target", NAME), words=OUTCOMES["target"], kl=kl
        ),
    }
    for kind, figure in drawn.items():
        save(f"{name}-adapter-{kind}", figure, image_format)


if __name__ == "__main__":
    main()
