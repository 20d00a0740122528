"""Does what is learned from honesty pairs move choices in everyday dilemmas, by any technique?

Run from the project's folder: `python analyses/dilemma_transfer.py --dilemmas FILE --model M`. The file is
`dilemmas_with_detail_by_action.csv` of DailyDilemmas. The run goes to `data/runs/dilemmas/`, its tables to
`figures/`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _drawing import FIGURES, ROOT

from steerscope.progress import bar
from steerscope.studies.dilemmas.findings import (
    answered_table,
    target_against,
    target_curves,
    value_table,
)
from steerscope.studies.dilemmas.measure import run_dilemmas
from steerscope.studies.dilemmas.plan import DilemmaPlan
from steerscope.studies.dilemmas.wording import comparisons, sentences
from steerscope.texts.chats import Chat


def main() -> None:
    """Learn, ask, say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dilemmas", required=True, help="file with the values of each action")
    parser.add_argument("--model", required=True, help="bundled name, folder or hub name")
    parser.add_argument("--contrasts", default="honesty", help="bundled name or file")
    parser.add_argument("--value", default="honesty", help="whose effect is asked for")
    parser.add_argument("--plain", action="store_true", help="without the chat template")
    options = parser.parse_args()
    plan = DilemmaPlan(
        model=options.model,
        contrasts=options.contrasts,
        dilemmas=options.dilemmas,
        value=options.value,
    )
    name = f"{Path(options.model).name}-{Path(options.contrasts).stem}-{options.value}"
    out = ROOT / "data/runs/dilemmas" / name
    run = run_dilemmas(out, plan, chat=None if options.plain else Chat(), progress=bar)
    first = plan.techniques[0]
    values, answered, against = value_table(run), answered_table(run), target_against(run, first)
    tables = {
        "values": values,
        "answered": answered,
        "against": against,
        "curves": target_curves(run),
    }
    for kind, table in tables.items():
        table.to_csv(FIGURES / f"{name}-dilemmas-{kind}.csv", index=False)
    said = sentences(values, answered, plan.value, plan.kl)
    print("\n".join([*said, *comparisons(against, plan.techniques, plan.value, plan.kl)]))


if __name__ == "__main__":
    main()
