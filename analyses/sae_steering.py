"""Does steering by features beat the mean difference? At a matched KL, on held-out prompts.

Run from the project's folder: `python analyses/sae_steering.py`. What every prompt gave
goes to `data/runs/sae/`, the table and the figures to `figures/`. Static pictures need
`steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import torch
from _drawing import FIGURES, ROOT, save

from steerscope import (
    Contrast,
    Direction,
    LensModel,
    extract,
    figures,
    load_contrasts,
    load_model,
    load_prompts,
)
from steerscope.judges import choose_judge
from steerscope.progress import bar
from steerscope.sae import SparseAutoencoder, load_sae, load_texts
from steerscope.sae.codes import firing_rates
from steerscope.sae.reading import mean_code_difference, read_direction
from steerscope.sae.scores import agreement, feature_scores
from steerscope.sae.steering import clamped
from steerscope.studies.features.findings import summarised
from steerscope.studies.features.measure import Edit, candidates, run_trials
from steerscope.studies.features.plan import TrialPlan
from steerscope.studies.features.wording import trials_in_words

OUT = ROOT / "data/runs/sae"


def main() -> None:
    """Read the direction, score features, steer by them, say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sae", default="microworld", help="bundled name, folder or RELEASE/ID")
    parser.add_argument("--contrasts", default="mood", help="bundled name")
    parser.add_argument("--kls", type=float, nargs="+", default=[0.2, 0.05, 0.5], help="nats")
    parser.add_argument("--k", type=int, default=8, help="features of a feature-targeted vector")
    parser.add_argument("--prompts", type=int, default=120, help="held-out prompts")
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    started = perf_counter()
    OUT.mkdir(parents=True, exist_ok=True)
    model = load_model("microworld")
    sae = load_sae(options.sae, model=model)
    fit = load_contrasts(options.contrasts).split(0).fit
    contrast = extract(model, fit, [sae.site])[sae.site]
    read(sae, contrast, options)
    score(model, sae, options)
    directions = candidates(model, sae, contrast, fit, k=options.k)
    codes = mean_code_difference(sae, contrast)
    edits: dict[str, Edit] = {
        "features clamped": clamped(sae, codes, k=options.k),
        "feature clamped": clamped(sae, codes, k=1),
    }
    trial(model, directions, edits, options)
    print(f"{perf_counter() - started:.0f} seconds")


def read(sae: SparseAutoencoder, contrast: Contrast, options: argparse.Namespace) -> None:
    """The direction in features, against nulls."""
    reading = read_direction(sae, contrast, k=30)
    table = reading.table()
    table.to_csv(OUT / "reading.csv", index=False)
    print(f"mean difference of {options.contrasts} at {sae.site} in {sae.n_features} features:")
    print(table.drop(columns="n").to_string(index=False, float_format="%.3g"))
    title = f"The {options.contrasts} direction in features"
    figure = figures.feature_diffusion(reading.curve, title=title)
    save("sae-diffusion", figure, options.format)


def score(model: LensModel, sae: SparseAutoencoder, options: argparse.Namespace) -> None:
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
    save("sae-scores", figures.score_scatter(scores, rho=agreed.rho, p=agreed.p), options.format)


def trial(
    model: LensModel,
    directions: dict[str, Direction],
    edits: dict[str, Edit],
    options: argparse.Namespace,
) -> None:
    """Every kind of direction and edit at every matched KL, on held-out prompts."""
    prompts = load_prompts(options.contrasts).split(0)
    select, test = prompts.select.prompts, prompts.test.prompts
    judge = choose_judge(load_contrasts(options.contrasts), (*select, *test))
    plan = TrialPlan(kls=tuple(options.kls), k=options.k, n_test=options.prompts)
    trials = run_trials(
        model, directions, judge, select, test, edits=edits, plan=plan, progress=bar
    )
    trials.to_csv(OUT / "trials.csv", index=False)
    summary = summarised(trials)
    summary.round(6).to_csv(FIGURES / "sae-steering.csv", index=False)
    effect = judge.effect.metric
    for kl in plan.kls:
        print("\n".join(trials_in_words(summary, kl=kl, effect=effect)))
    words = (judge.effect.words, "continuations that keep the topic")
    figure = figures.steering_pareto(summary, effect=effect, cost="kept_topic", words=words)
    save("sae-pareto", figure, options.format)


if __name__ == "__main__":
    main()
