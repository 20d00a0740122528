"""Seconds to the chosen layer and dose: a race, our whole grid, and the grid as one batch of transformers.

    python benchmarks/answer.py --seeds 3

Under one seed all three have the same splits and prompts. A search is timed from its start to the moment
at which it begins with the held-out prompts, judging and loading included. transformers writes the
texts of the grid alone, 512 rows at a time with a vector each, and neither loads nor judges. The three take
turns. Each seed is one line of `results/answer.jsonl`; a second start makes what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "contenders"))
RESULTS, TABLE = HERE / "results" / "answer.jsonl", HERE / "results" / "answer.md"
ROWS, NEW = 512, 32
SEARCHES = {"race": "adaptive", "grid": "grid"}
ONE_BATCH = "one batch of transformers"


class Watch:
    """A progress bar that shows nothing and remembers when the held-out prompts came."""

    def __init__(self) -> None:
        self.began, self.chosen = time.perf_counter(), float("nan")

    def __call__(self, items: Iterable[Any], label: str) -> Iterable[Any]:
        """The items."""
        if self.chosen != self.chosen and "test" in label.split():
            self.chosen = time.perf_counter()
        return items


def searched(seed: int, search: str, folder: Path) -> dict[str, Any]:
    """What a search chose, what that is worth on held-out prompts, and the seconds that it took."""
    from steerscope.studies.steering.findings import find
    from steerscope.studies.steering.measure import run_study
    from steerscope.studies.steering.plan import StudyPlan

    plan = StudyPlan(seed=seed, search=search, nulls=0, n_controls=0, n_sweep_controls=0, n_new=NEW)
    watch = Watch()
    run = run_study(plan, folder, progress=watch)
    found, texts = find(run), run.texts()
    assert found.joint is not None
    return {
        "seconds": watch.chosen - watch.began,
        "layer": found.chosen.layer,
        "dose": round(found.chosen.dose_natural, 6),
        "success": found.joint.value,
        "texts": int(((texts.split == "select") & (texts.cell != "plain")).sum()),
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
        d.site.layer: d.vector / d.vector.norm()
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
    """All three under one seed."""
    with tempfile.TemporaryDirectory() as place:
        found: dict[str, Any] = {
            name: searched(seed, search, Path(place, name)) for name, search in SEARCHES.items()
        }
        found[ONE_BATCH] = {"seconds": written_at_once(Path(place, "grid"))}
    return {"seed": seed, **found}


def table(rows: list[dict[str, Any]]) -> str:
    """The comparison in Markdown."""
    race = [r["race"]["seconds"] for r in rows]
    lines = [
        f"# Seconds to the chosen layer and dose, bundled model, {len(rows)} seeds",
        "",
        "| | seconds, median | times the race | held-out success, points | texts |",
        "|---|---|---|---|---|",
    ]
    for name in (*SEARCHES, ONE_BATCH):
        took = [r[name]["seconds"] for r in rows]
        times = [a / b for a, b in zip(took, race, strict=True)]
        found = [r[name if name in SEARCHES else "grid"] for r in rows]
        success = statistics.mean(100 * f["success"] for f in found)
        lines.append(
            f"| {name} | {statistics.median(took):.1f} | {statistics.median(times):.1f} "
            f"[{min(times):.1f}, {max(times):.1f}] | {success:.1f} | "
            f"{statistics.median(f['texts'] for f in found):.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    rows = [json.loads(x) for x in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    for seed in sorted(set(range(asked.seeds)) - {row["seed"] for row in rows}):
        rows.append(measured(seed))
        with RESULTS.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(rows[-1], flush=True)
    TABLE.write_text(table(rows))
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
