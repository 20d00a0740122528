"""What do edits of weight spectra buy, and at what price? The Pareto front on the microworld.

Run from the project's folder: `python analyses/spectral_pareto.py`. The run goes to
`data/runs/spectral-pareto/`, the picture and its table to `figures/`. Static pictures need
`steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from _drawing import FIGURES, ROOT, save

from steerscope import WeightSweepPlan, figures, run_weight_sweep
from steerscope.progress import bar
from steerscope.report.weights import sweep_in_words
from steerscope.runs.distinct import groups_of
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.weights.findings import front_table

WHOLE: dict[str, Any] = {
    "amounts": (-0.9, -0.5, 0.5, 1.0), "n_new": 24, "max_select": 40, "max_test": 200, "n_texts": 24,
}  # fmt: skip
QUICK: dict[str, Any] = {
    "amounts": (-0.9, 1.0), "n_new": 20, "max_select": 24, "max_test": 60, "n_texts": 12,
    "n_controls": 2,
}  # fmt: skip


def main() -> None:
    """Sweep, print the verdict, write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="microworld")
    parser.add_argument("--contrasts", default="mood")
    parser.add_argument("--out", type=Path, default=ROOT / "data/runs/spectral-pareto")
    parser.add_argument("--format", default="png", help="png, svg, pdf or html")
    parser.add_argument("--quick", action="store_true", help="a third of it, to see that all runs")
    options = parser.parse_args()
    plan = WeightSweepPlan(
        model=options.model,
        contrasts=options.contrasts,
        edits=("gain", "zscore[clamp]", "power"),
        together=("down:0-7:-0.5", "down:0-7:+0.5"),
        **(QUICK if options.quick else WHOLE),
    )
    run = run_weight_sweep(plan, options.out, progress=bar)
    effect, rows = effect_of(run), run.table()
    table = front_table(rows, effect, "test", groups_of(run))
    for line in sweep_in_words(run, table):
        print(line)
    name = f"{Path(plan.model).name}-{plan.contrasts}-spectral_pareto"
    table.to_csv(FIGURES / f"{name}-conditions.csv", index=False)
    save(name, figures.pareto_front(table, effect), options.format)


if __name__ == "__main__":
    main()
