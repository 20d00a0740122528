"""Who predicts steerability, over sixteen small worlds: models of other shapes and seeds, trained for this.

Run from the project's folder: `python analyses/small_worlds.py`. What was trained or measured is kept in
`data/runs/small_worlds/`, so that the same command goes on after a stop; what the models are like, the
layers and the tables over models go to `figures/`. `--worlds 2 --steps 20` shows that it runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pandas as pd
import torch
from _drawing import FIGURES, ROOT
from who_predicts_steerability import report

from steerscope import load_contrasts, load_model
from steerscope.microworld.evaluate import evaluate
from steerscope.microworld.train import TrainingPlan, train_tokenizer, trained
from steerscope.progress import bar
from steerscope.studies.predictors.across_models import across_models, power_across_models
from steerscope.studies.predictors.findings import EXPECTED_SIGNS, leave_one_model_out
from steerscope.studies.predictors.measure import predictor_table

NAME = "small_worlds"
RUNS = ROOT / "data/runs" / NAME
CONCEPTS = ("mood", "register", "garden_sea")
LAYERS, WIDTHS = (4, 5, 6, 8), (32, 48, 64, 80)
OUTCOMES = ("effect_kl", "effect_relative")


def plan_of(number: int, steps: int, threads: int) -> TrainingPlan:
    """The world of a number: its shape from the grid of depths and widths, its seed the number itself."""
    width = WIDTHS[number // len(LAYERS) % len(WIDTHS)]
    return TrainingPlan(
        seed=number,
        vocab_size=600,
        n_tokenizer_stories=4000,
        steps=steps,
        stories_per_step=16,
        warmup_steps=min(50, steps // 4),
        threads=threads,
        n_layers=LAYERS[number % len(LAYERS)],
        d_model=width,
        n_heads=width // 8,
        n_key_value_heads=width // 16,
        d_mlp=width * 11 // 4,
    )


def main() -> None:
    """Train, evaluate, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=16)
    parser.add_argument("--steps", type=int, default=600, help="of training, 16 stories each")
    parser.add_argument("--pairs", type=int, default=20, help="pairs used of each part")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plans = [plan_of(n, options.steps, options.threads) for n in range(options.worlds)]
    worlds = [world(plan, options.pairs) for plan in plans]
    about = pd.DataFrame([about for about, _ in worlds])
    table = pd.concat([layers for _, layers in worlds], ignore_index=True)
    about.to_csv(FIGURES / f"{NAME}.csv", index=False)
    table.round(6).to_csv(FIGURES / f"{NAME}-layers.csv", index=False)
    print(about.round(3).to_string(index=False))
    said = [over_models(table, outcome) for outcome in OUTCOMES]
    (FIGURES / f"{NAME}.txt").write_text("\n".join(said) + "\n")


def world(plan: TrainingPlan, n_pairs: int) -> tuple[dict[str, object], pd.DataFrame]:
    """What a world is like, and its layers; trained and measured now unless that is kept."""
    folder = trained(RUNS / f"world_{plan.seed:02d}", train_tokenizer(plan), plan)
    kept = folder / f"layers-{n_pairs}.csv"
    model = load_model(folder)
    if not kept.is_file():
        concepts = [load_contrasts(name) for name in CONCEPTS]
        layers = predictor_table(model, concepts, n_pairs=n_pairs, seed=plan.seed, progress=bar)
        layers.to_csv(kept, index=False)
    quality = evaluate(folder, n_stories=64, n_prompts=48, seed=1000 + plan.seed)
    about = {
        "world": folder.name,
        "seed": plan.seed,
        "layers": plan.n_layers,
        "width": plan.d_model,
        "fingerprint": model.fingerprint,
        "excess": quality.excess,
        "grammatical": quality.grammatical.value,
        **{f"keeps_{name}": share.value for name, share in quality.kept.items()},
    }
    return about, pd.read_csv(kept)


def over_models(table: pd.DataFrame, outcome: str) -> str:
    """The table over models and the league of one outcome, written; the verdict in words."""
    diagnostics = [d for d in EXPECTED_SIGNS if d in table.columns]
    found = across_models(table, diagnostics, outcome)
    found.round(6).to_csv(FIGURES / f"{NAME}-{outcome}-models.csv", index=False)
    print(f"\n{outcome}, mean over models of the rank correlation over layers:")
    print(found.round(3).to_string(index=False))
    for rho in (0.3, 0.5, 0.7):
        one, largest = (power_across_models(table, outcome, rho, n) for n in (1, len(diagnostics)))
        print(f"power at rho {rho}, of layers as alike as these: one diagnostic {one:.2f}, the largest of "
              f"{len(diagnostics)} {largest:.2f}")  # fmt: skip
    print(f"\n{regrets(table, diagnostics, outcome)}")
    return report(table, outcome, RUNS, "png")


def regrets(table: pd.DataFrame, diagnostics: Sequence[str], outcome: str) -> str:
    """What the diagnostic that the other models would choose loses on each model left out."""
    held_out = leave_one_model_out(table, diagnostics, outcome)
    taken = held_out[held_out.chosen]
    names = ", ".join(sorted(taken.diagnostic.unique()))
    return (
        f"by {names}, chosen on the other models: {taken.regret.mean():.2f} nats lost against the best "
        f"layer, by the middle layer {taken.regret_middle.mean():.2f}, by a random one "
        f"{taken.regret_random.mean():.2f}"
    )


if __name__ == "__main__":
    main()
