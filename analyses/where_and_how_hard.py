"""Draw the figures of the README: layer sweep, sweet-spot map and the rest, from one study.

Run from the project's folder: `python analyses/where_and_how_hard.py`. The pictures go to
`figures/`; the rows that they are drawn from stay in `data/runs/`. Static pictures need
`steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from steerscope import StudyPlan, run_study
from steerscope.report import draw_figures, write_report

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run or finish the study, then draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="microworld", help="bundled name, folder or hub name")
    parser.add_argument("--contrasts", default="mood", help="bundled name or file")
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    name = f"{Path(options.model).name}-{Path(options.contrasts).stem}"
    run = run_study(
        StudyPlan(model=options.model, contrasts=options.contrasts), ROOT / "data/runs" / name
    )
    print(f"report: {write_report(run)}")
    for path in draw_figures(run, [options.format]):
        kept = ROOT / "figures" / f"{name}-{path.name}"
        shutil.copyfile(path, kept)
        print(kept.relative_to(ROOT))


if __name__ == "__main__":
    main()
