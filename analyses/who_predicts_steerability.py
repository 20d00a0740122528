"""Which diagnostic of a layer predicts how far the layer can be steered?

Run from the project's folder: `python analyses/who_predicts_steerability.py`, or for another model
`... --models FOLDER --contrasts happy_sad --name predictors-NAME`. The measurements go to
`data/runs/NAME/`, the league tables, the verdicts and the figures to `figures/`. Static pictures need
`steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from _drawing import FIGURES, ROOT, save

from steerscope import figures, load_contrasts, load_model
from steerscope.progress import bar
from steerscope.studies.predictors.findings import (
    EXPECTED_SIGNS,
    leave_one_concept_out,
    predictor_league,
)
from steerscope.studies.predictors.measure import predictor_table
from steerscope.studies.predictors.wording import league_in_words

OUTCOMES = {
    "effect_relative": "steerability at a matched length",
    "effect_kl": "steerability at a matched KL",
}
SHOWN = ["diagnostic", "rho", "low", "high", "p", "p_holm", "q_bh", "partial_rho", "partial_p"]
REGRETS = ["diagnostic", "regret", "regret_low", "regret_high", "regret_middle", "regret_random"]


def main() -> None:
    """Measure, rank the diagnostics, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["microworld"])
    parser.add_argument("--contrasts", nargs="+", default=["mood", "register", "garden_sea"])
    parser.add_argument("--pairs", type=int, default=40, help="pairs used of each part")
    parser.add_argument("--name", default="predictors", help="with which the files begin")
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    out = ROOT / "data/runs" / options.name
    out.mkdir(parents=True, exist_ok=True)
    concepts = [load_contrasts(name) for name in options.contrasts]
    tables = [
        predictor_table(load_model(name), concepts, n_pairs=options.pairs, progress=bar)
        for name in options.models
    ]
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(out / "layers.csv", index=False)
    said = [report(table, outcome, out, options.format) for outcome in OUTCOMES]
    (FIGURES / f"{options.name}.txt").write_text("\n".join(said) + "\n")


def report(table: pd.DataFrame, outcome: str, out: Path, image_format: str) -> str:
    """Print, store and draw the league of one outcome; its verdict in words."""
    words = OUTCOMES[outcome]
    diagnostics = [d for d in EXPECTED_SIGNS if d in table.columns]
    league = predictor_league(table, diagnostics, outcome)
    league.round(6).to_csv(FIGURES / f"{out.name}-{outcome}-league.csv", index=False)
    print(f"\n{words}, signed rank correlation over layers:")
    print(league[SHOWN].round(3).to_string(index=False))
    print("\nnats lost by taking the layer that the diagnostic picks:")
    print(league[REGRETS].round(3).to_string(index=False))
    if table.concept.nunique() > 1:
        held_out = leave_one_concept_out(table, diagnostics, outcome)
        held_out.to_csv(out / f"{outcome}-held-out.csv", index=False)
        print("\nthe best diagnostic of the other concepts, on the concept left out:")
        print(held_out[held_out.chosen].round(3).to_string(index=False))
    verdict = f"{words}: {league_in_words(league)}"
    print(f"\n{verdict}")
    figure = figures.predictor_league(league, outcome=words)
    save(f"{out.name}-{outcome}", figure, image_format)
    return verdict


if __name__ == "__main__":
    main()
