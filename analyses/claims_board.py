"""Every claim of the ledger with the number that decided it and its verdict.

Run from the project's folder: `python analyses/claims_board.py`. The verdicts are computed again from
the stored rows of the runs that decide them. The picture and the table go to `figures/`. Static
pictures need `steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _drawing import FIGURES, save

from steerscope import figures
from steerscope.claims import board, check_claims, load_claims


def main() -> None:
    """Judge, store the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    found = board(check_claims(load_claims(), Path("data/runs/experiments")))
    found.to_csv(FIGURES / "claims.csv", index=False)
    print(found.verdict.value_counts().to_string())
    save("claims_board", figures.claims_board(found), options.format)


if __name__ == "__main__":
    main()
