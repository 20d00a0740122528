"""Does steering by features beat the mean difference? At a matched KL, on held-out prompts.

Run from the project's folder: `python analyses/sae_steering.py`. What every prompt gave
goes to `data/runs/`, the table and the figures to `figures/`. Static pictures need
`steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import torch
from _drawing import FIGURES, ROOT, save

from steerscope import Contrast, LensModel, extract, figures, load_contrasts, load_model
from steerscope.experiments import load_experiment, run_experiment
from steerscope.experiments.running import runs_of
from steerscope.progress import bar
from steerscope.report import plates
from steerscope.sae import SparseAutoencoder, load_sae, load_texts
from steerscope.sae.codes import firing_rates
from steerscope.sae.reading import read_direction
from steerscope.sae.scores import agreement, feature_scores
from steerscope.studies.features.stored import overflowed_at, steering_table
from steerscope.studies.features.wording import trials_in_words
from steerscope.studies.steering.plan import effect_of

OUT, RUNS = ROOT / "data/runs/sae", ROOT / "data/runs/experiments"
CONCEPT = "mood"


def main() -> None:
    """Read the direction, score features, steer by them, say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    started = perf_counter()
    OUT.mkdir(parents=True, exist_ok=True)
    model = load_model("microworld")
    sae = load_sae("microworld", model=model)
    fit = load_contrasts(CONCEPT).split(0).fit
    contrast = extract(model, fit, [sae.site])[sae.site]
    read(sae, contrast, options.format)
    score(model, sae, options.format)
    trial(options.format)
    print(f"{perf_counter() - started:.0f} seconds")


def read(sae: SparseAutoencoder, contrast: Contrast, image_format: str) -> None:
    """The direction in features, against nulls."""
    reading = read_direction(sae, contrast, k=30)
    table = reading.table()
    table.to_csv(OUT / "reading.csv", index=False)
    print(f"mean difference of {CONCEPT} at {sae.site} in {sae.n_features} features:")
    print(table.drop(columns="n").to_string(index=False, float_format="%.3g"))
    title = f"The {CONCEPT} direction in features"
    figure = figures.feature_diffusion(reading.curve, title=title)
    save("sae-diffusion", figure, image_format)


def score(model: LensModel, sae: SparseAutoencoder, image_format: str) -> None:
    """What the living features hear and say."""
    texts = load_texts("microworld", "held out", n=150, seed=0)
    living = torch.nonzero(firing_rates(model, sae, texts) > 0).flatten().tolist()
    scores = feature_scores(model, sae, texts, living)
    scores.to_csv(OUT / "scores.csv", index=False)
    agreed = agreement(scores)
    print(
        f"input and output score: rank correlation {agreed.rho:+.2f} [{agreed.low:+.2f}, "
        f"{agreed.high:+.2f}], p {agreed.p:.3g}, {agreed.n} features"
    )
    save("sae-scores", figures.score_scatter(scores, rho=agreed.rho, p=agreed.p), image_format)


def trial(image_format: str) -> None:
    """Every kind of direction and edit at every matched KL, on held-out prompts."""
    wanted = load_experiment("sae_steering")
    run_experiment(wanted, RUNS / wanted.name, progress=bar)
    [run] = runs_of(wanted, RUNS / wanted.name)
    summary = steering_table(run)
    summary.round(6).to_csv(FIGURES / "sae-steering.csv", index=False)
    for kl in run.configuration["kls"]:
        lost = overflowed_at(run, kl)
        said = trials_in_words(summary, kl=kl, effect=effect_of(run).metric, overflowed=lost)
        print("\n".join(said))
    [plate] = plates(run)
    save("sae-pareto", plate.figure, image_format)


if __name__ == "__main__":
    main()
