"""What a race over layers and doses loses against the whole grid, and what it saves.

    python benchmarks/search.py --seeds 20
    python benchmarks/search.py --table

Both searches run as whole studies of the bundled model under the same seed: the same splits, the same
prompts. Compared are what is stated on the held-out prompts (texts that are flipped and undamaged), the
texts that were written to choose, and the seconds from the start to the moment at which the held-out
prompts begin, loading and judging included. Beside them transformers writes the texts of the grid, 512 rows
at a time with a vector each; it neither loads nor judges. Each seed is one line of
`results/search.jsonl`; a second start makes what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "contenders"))
RESULTS = HERE / "results" / "search.jsonl"
TABLE = HERE / "results" / "search.md"
SEARCHES = ("adaptive", "grid")
ONE_BATCH = "one batch of transformers"
ROWS, NEW = 512, 32


class Watch:
    """A progress bar that shows nothing and remembers when the held-out prompts came."""

    def __init__(self) -> None:
        self.began, self.chosen = time.perf_counter(), float("nan")

    def __call__(self, items: Iterable[Any], label: str) -> Iterable[Any]:
        """The items."""
        if self.chosen != self.chosen and "test" in label.split():
            self.chosen = time.perf_counter()
        return items


def searched(seed: int, search: str, folder: Path) -> dict[str, float]:
    """What one search chose, what that is worth on held-out prompts, and what the choice took."""
    from steerscope.studies.steering.findings import find
    from steerscope.studies.steering.measure import run_study
    from steerscope.studies.steering.plan import StudyPlan

    plan = StudyPlan(seed=seed, search=search, nulls=0, n_controls=0, n_sweep_controls=0, n_new=NEW)
    watch = Watch()
    run = run_study(plan, folder, progress=watch)
    found, texts = find(run), run.texts()
    assert found.joint is not None
    return {
        "layer": found.chosen.layer,
        "dose": round(found.chosen.dose_natural, 6),
        "success": found.joint.value,
        "n": found.joint.n,
        "texts": int(((texts.split == "select") & (texts.cell != "plain")).sum()),
        "seconds": watch.chosen - watch.began,
    }


def written_at_once(folder: Path) -> float:
    """Seconds in which transformers writes the texts of a grid."""
    import torch
    from torch import nn
    from transformers_batch import steer

    from steerscope import load_directions
    from steerscope.models.loading import load_original
    from steerscope.runs.results import Run

    run, original = Run.open(folder), load_original("microworld")
    model, tokenizer = original.network.eval(), original.tokenizer
    blocks = next(m for m in model.base_model.modules() if isinstance(m, nn.ModuleList))
    kinds = run.table().drop_duplicates("cell").set_index("cell")
    texts = run.texts()
    texts = texts[(texts.split == "select") & (texts.cell != "plain")]
    texts = texts.assign(
        layer=texts.cell.map(kinds.layer), dose=texts.cell.map(kinds.dose_absolute)
    )
    texts = texts[texts.layer >= 0].sort_values("layer")
    units = {
        d.site.layer: d.unit
        for d in load_directions(folder / "directions.safetensors")
        if d.method == "mean_diff"
    }
    tokenizer.padding_side, tokenizer.pad_token_id = "left", tokenizer.pad_token_id or 0
    began = time.perf_counter()
    with torch.no_grad():
        for start in range(0, len(texts), ROWS):
            part = texts[start : start + ROWS]
            hooks = []
            for layer, rows in part.reset_index(drop=True).groupby("layer"):
                change = torch.zeros(len(part), 1, model.config.hidden_size)
                change[rows.index] = torch.outer(
                    torch.tensor(rows.dose.to_numpy(), dtype=torch.float32), units[layer]
                ).unsqueeze(1)
                hooks.append(steer(blocks[layer], change))
            batch = tokenizer(list(part.seen), return_tensors="pt", padding=True)
            model.generate(**batch, max_new_tokens=NEW, do_sample=False, pad_token_id=0)
            for hook in hooks:
                hook.remove()
    return time.perf_counter() - began


def measured(seed: int) -> dict[str, Any]:
    """Both searches under one seed, and the texts of the grid as transformers writes them."""
    with tempfile.TemporaryDirectory() as place:
        found: dict[str, Any] = {s: searched(seed, s, Path(place, s)) for s in SEARCHES}
        found[ONE_BATCH] = {"seconds": written_at_once(Path(place, "grid"))}
    return {"seed": seed, **found}


def table(rows: list[dict[str, Any]]) -> str:
    """The comparison in Markdown."""
    import numpy as np

    from steerscope.statistics import clustered_mean

    lost = np.array([r["grid"]["success"] - r["adaptive"]["success"] for r in rows])
    share = np.array([r["adaptive"]["texts"] / r["grid"]["texts"] for r in rows])
    mean, kept = clustered_mean(lost), clustered_mean(share)
    same = sum(r["grid"]["layer"] == r["adaptive"]["layer"] for r in rows)
    timed = [r for r in rows if ONE_BATCH in r]  # the others were timed beside other work, or not
    lines = [
        "| | value | 95 % |",
        "|---|---|---|",
        f"| seeds | {len(rows)} | |",
        f"| held-out success of the grid, points | {100 * np.mean([r['grid']['success'] for r in rows]):.1f} | |",
        f"| lost by the race, points | {100 * mean.value:+.1f} | {100 * mean.low:+.1f} to {100 * mean.high:+.1f} |",
        f"| texts of the race for one of the grid | {kept.value:.3f} | {kept.low:.3f} to {kept.high:.3f} |",
        f"| same layer chosen | {same} of {len(rows)} | |",
        "",
        f"Seconds to the chosen layer and dose (seeds: {len(timed)}), medians with the least and the most:",
        "",
        "| | seconds | times the race |",
        "|---|---|---|",
    ]
    for name in (*SEARCHES, ONE_BATCH):
        seconds = [r[name]["seconds"] for r in timed]
        over = [r[name]["seconds"] / r["adaptive"]["seconds"] for r in timed]
        lines.append(f"| {name} | {spread(seconds)} | {spread(over)} |")
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float]) -> str:
    """The median, with the least and the most."""
    return f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    rows = [json.loads(x) for x in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    if not asked.table:
        for seed in sorted(set(range(asked.seeds)) - {row["seed"] for row in rows}):
            rows.append(measured(seed))
            with RESULTS.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(rows[-1], flush=True)
    TABLE.write_text(table(rows))
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
