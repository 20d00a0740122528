"""What a race over layers and doses loses against the whole grid, and what it saves.

    python benchmarks/search.py --seeds 20
    python benchmarks/search.py --table

Both searches run as whole studies of the bundled model under the same seed: the same splits, the same
prompts. Compared are what is stated on the held-out prompts (texts that are flipped and undamaged)
and the texts that were written to choose. Each seed is one line of `results/search.jsonl`; a second
start makes what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "search.jsonl"
TABLE = HERE / "results" / "search.md"
SEARCHES = ("grid", "adaptive")


def measured(seed: int, search: str, folder: Path) -> dict[str, float]:
    """What one search chose, what that is worth on held-out prompts, and what the choice took."""
    from steerscope.studies.steering.findings import find
    from steerscope.studies.steering.measure import run_study
    from steerscope.studies.steering.plan import StudyPlan

    plan = StudyPlan(seed=seed, search=search, nulls=0, n_controls=0, n_sweep_controls=0, n_new=32)
    run = run_study(plan, folder / search)
    found, texts = find(run), run.texts()
    select = texts[(texts.split == "select") & (texts.cell != "plain")]
    assert found.joint is not None
    return {
        "layer": found.chosen.layer,
        "dose": round(found.chosen.dose_natural, 6),
        "success": found.joint.value,
        "n": found.joint.n,
        "texts": len(select),
    }


def table(rows: list[dict]) -> str:
    """The comparison in Markdown."""
    import numpy as np

    from steerscope.statistics import clustered_mean

    lost = np.array([r["grid"]["success"] - r["adaptive"]["success"] for r in rows])
    share = np.array([r["adaptive"]["texts"] / r["grid"]["texts"] for r in rows])
    mean, kept = clustered_mean(lost), clustered_mean(share)
    same = sum(r["grid"]["layer"] == r["adaptive"]["layer"] for r in rows)
    lines = [
        "| | value | 95 % |",
        "|---|---|---|",
        f"| seeds | {len(rows)} | |",
        f"| held-out success of the grid, points | {100 * np.mean([r['grid']['success'] for r in rows]):.1f} | |",
        f"| lost by the race, points | {100 * mean.value:+.1f} | {100 * mean.low:+.1f} to {100 * mean.high:+.1f} |",
        f"| texts of the race for one of the grid | {kept.value:.3f} | {kept.low:.3f} to {kept.high:.3f} |",
        f"| same layer chosen | {same} of {len(rows)} | |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    rows = [json.loads(x) for x in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    if not asked.table:
        there = {row["seed"] for row in rows}
        for seed in sorted(set(range(asked.seeds)) - there):
            with tempfile.TemporaryDirectory() as folder:
                row = {s: measured(seed, s, Path(folder)) for s in SEARCHES}
            rows.append({"seed": seed, **row})
            with RESULTS.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(rows[-1], flush=True)
    TABLE.write_text(table(rows))
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
