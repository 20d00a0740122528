"""What a race over layers and doses loses against the whole grid, and what it saves.

    python benchmarks/search.py --seeds 20
    python benchmarks/search.py --seeds 1 --model FOLDER --contrasts sentiment --judge sentiment --chat \
        --dtype bfloat16 --searches adaptive --share 0.05 --rows 128
    python benchmarks/search.py --table

Both searches run as whole studies of one model under the same seed: the same splits, the same prompts.
Compared are what is stated on the held-out prompts (texts that are flipped and undamaged), the
texts that were written to choose, and the seconds from the start to the moment at which the held-out
prompts begin, loading and judging included. Beside them transformers writes the texts of the grid in float32, some
rows at a time with a vector each; it neither loads nor judges. Where the grid takes hours it can be left out, and
transformers writes a share of its texts alone, drawn at random, whose seconds are scaled up. Each seed is one
line of `results/search.jsonl`; a second start makes what is missing.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from steerscope.runs.results import Run

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "contenders"))
RESULTS = HERE / "results" / "search.jsonl"
TABLE = HERE / "results" / "search.md"
SEARCHES = ("adaptive", "grid")
ONE_BATCH = "one batch of transformers"


@dataclass(frozen=True)
class Subject:
    """What is searched, as a study names it.

    Attributes:
        model: bundled name or folder.
        contrasts: bundled name.
        judge: what reads the texts; none for the grammar of the microworld.
        dtype: number format of the studies.
        chat: whether the prompts are put into the chat template.
        n_new: tokens of a text.
        max_select: prompts to choose by, at most.
        max_test: held-out prompts, at most.
    """

    model: str = "microworld"
    contrasts: str = "mood"
    judge: str | None = None
    dtype: str = "float32"
    chat: bool = False
    n_new: int = 32
    max_select: int = 120
    max_test: int = 240

    @property
    def name(self) -> str:
        """The model without the place where it lies."""
        return Path(self.model).name


class Watch:
    """A progress bar that shows nothing and remembers when the held-out prompts came."""

    def __init__(self) -> None:
        self.began, self.chosen = time.perf_counter(), float("nan")

    def __call__(self, items: Iterable[Any], label: str) -> Iterable[Any]:
        """The items."""
        if self.chosen != self.chosen and "test" in label.split():
            self.chosen = time.perf_counter()
        return items


def searched(subject: Subject, seed: int, search: str, folder: Path) -> dict[str, float]:
    """What one search chose, what that is worth on held-out prompts, and what the choice took."""
    from steerscope.studies.steering.findings import find
    from steerscope.studies.steering.measure import run_study
    from steerscope.studies.steering.plan import StudyPlan

    plan = StudyPlan(
        **asdict(subject), seed=seed, search=search, nulls=0, n_controls=0, n_sweep_controls=0
    )
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


def grid_texts(run: Run, layers: Iterable[int]) -> pd.DataFrame:
    """The layer, the dose in absolute units and the prompt of each text of the grid, though another search ran."""
    import pandas as pd

    texts, table = run.texts(), run.table()
    steered = table[table.dose_natural != 0].drop_duplicates("layer").set_index("layer")
    length = steered.dose_absolute / steered.dose_natural
    plain = texts[(texts.cell == "plain") & (texts.split == "select")]
    doses = [sign * dose for dose in run.configuration["doses"] for sign in (1, -1)]
    return pd.DataFrame(
        [
            (layer, dose * length[layer], seen)
            for layer in layers
            for dose in doses
            for seen in plain.seen
        ],
        columns=["layer", "dose", "seen"],
    )


def measured_texts(run: Run) -> pd.DataFrame:
    """The same of a grid that was measured."""
    kinds = run.table().drop_duplicates("cell").set_index("cell")
    texts = run.texts()
    texts = texts[(texts.split == "select") & (texts.cell != "plain")]
    texts = texts.assign(
        layer=texts.cell.map(kinds.layer), dose=texts.cell.map(kinds.dose_absolute)
    )
    return texts[texts.layer >= 0]


def written_at_once(subject: Subject, folder: Path, share: float, n_rows: int) -> dict[str, float]:
    """Seconds in which transformers writes the texts of a grid, told from a share of them."""
    import torch
    from torch import nn
    from transformers_batch import steer

    from steerscope import load_directions
    from steerscope.models.loading import load_original
    from steerscope.runs.results import Run

    run, original = Run.open(folder), load_original(subject.model)
    model, tokenizer = original.network.eval(), original.tokenizer
    model.set_attn_implementation("sdpa")  # as transformers runs it by itself
    blocks = next(m for m in model.base_model.modules() if isinstance(m, nn.ModuleList))
    units = {
        d.site.layer: d.unit
        for d in load_directions(folder / "directions.safetensors")
        if d.method == "mean_diff"
    }
    of_grid = folder.name == "grid"
    every = measured_texts(run) if of_grid else grid_texts(run, units)
    texts = every.sample(frac=share, random_state=0).sort_values("layer")
    tokenizer.padding_side, tokenizer.pad_token_id = "left", tokenizer.pad_token_id or 0
    began = time.perf_counter()
    with torch.no_grad():
        for start in range(0, len(texts), n_rows):
            part = texts[start : start + n_rows]
            hooks = []
            for layer, rows in part.reset_index(drop=True).groupby("layer"):
                change = torch.zeros(len(part), 1, model.config.hidden_size)
                doses = torch.tensor(rows.dose.to_numpy(), dtype=torch.float32)
                change[rows.index] = torch.outer(doses, units[layer]).unsqueeze(1)
                hooks.append(steer(blocks[layer], change))
            batch = tokenizer(list(part.seen), return_tensors="pt", padding=True)
            model.generate(**batch, max_new_tokens=subject.n_new, do_sample=False, pad_token_id=0)
            for hook in hooks:
                hook.remove()
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds * len(every) / len(texts),
        "texts": len(every),
        "written": len(texts),
        "rows": n_rows,
    }


def measured(
    subject: Subject, seed: int, searches: Sequence[str], share: float, n_rows: int
) -> dict[str, Any]:
    """The searches under one seed, and the texts of the grid as transformers writes them."""
    with tempfile.TemporaryDirectory() as place:
        found: dict[str, Any] = {s: searched(subject, seed, s, Path(place, s)) for s in searches}
        found[ONE_BATCH] = written_at_once(subject, Path(place, searches[-1]), share, n_rows)
    return asdict(subject) | {"model": subject.name, "seed": seed, **found}


def tables(rows: list[dict[str, Any]]) -> str:
    """The comparison in Markdown, model by model."""
    found = []
    for name in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == name]
        sets = ", ".join(dict.fromkeys(row["contrasts"] for row in mine))
        found.append(f"## {name}, {sets}\n\n{table(mine)}")
    return "\n".join(found)


def table(rows: list[dict[str, Any]]) -> str:
    """The comparison of one model."""
    import numpy as np

    from steerscope.statistics import clustered_mean

    both = [r for r in rows if "grid" in r]
    of_grid = [r.get("grid", r.get(ONE_BATCH, {})).get("texts", np.nan) for r in rows]
    share = np.array([r["adaptive"]["texts"] / n for r, n in zip(rows, of_grid, strict=True)])
    kept = clustered_mean(share)
    between = f"{kept.low:.3f} to {kept.high:.3f}" if kept.low == kept.low else "-"
    lines = ["| | value | 95 % |", "|---|---|---|", f"| seeds | {len(rows)} | |"]
    if both:
        lost = clustered_mean(
            np.array([r["grid"]["success"] - r["adaptive"]["success"] for r in both])
        )
        same = sum(r["grid"]["layer"] == r["adaptive"]["layer"] for r in both)
        lines += [
            f"| held-out success of the grid, points | {100 * np.mean([r['grid']['success'] for r in both]):.1f} | |",
            f"| lost by the race, points | {100 * lost.value:+.1f} | {100 * lost.low:+.1f} to {100 * lost.high:+.1f} |",
            f"| same layer chosen | {same} of {len(both)} | |",
        ]
    lines += [
        f"| texts of the race for one of the grid | {kept.value:.3f} | {between} |",
        "",
    ]
    timed = [r for r in rows if ONE_BATCH in r]  # the others were timed beside other work, or not
    lines += [
        f"Seconds to the chosen layer and dose (seeds: {len(timed)}), medians with the least and the most:",
        "",
        "| | seconds | times the race |",
        "|---|---|---|",
    ]
    for name in (*SEARCHES, ONE_BATCH):
        mine = [r for r in timed if name in r]
        if mine:
            over = [r[name]["seconds"] / r["adaptive"]["seconds"] for r in mine]
            part = min(
                r[name]["written"] / r[name]["texts"] if "written" in r[name] else 1 for r in mine
            )
            said = f"{name}, told from {part:.0%} of its texts" if part < 1 else name
            lines.append(
                f"| {said} | {spread([r[name]['seconds'] for r in mine])} | {spread(over)} |"
            )
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float]) -> str:
    """The median, with the least and the most."""
    return f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--model", default=Subject.model)
    parser.add_argument("--contrasts", default=Subject.contrasts)
    parser.add_argument("--judge", default=Subject.judge)
    parser.add_argument("--dtype", default=Subject.dtype)
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--n-new", type=int, default=Subject.n_new)
    parser.add_argument("--max-select", type=int, default=Subject.max_select)
    parser.add_argument("--max-test", type=int, default=Subject.max_test)
    parser.add_argument("--searches", nargs="+", default=[*SEARCHES], choices=SEARCHES)
    parser.add_argument("--rows", type=int, default=512, help="of a batch of transformers")
    parser.add_argument("--share", type=float, default=1.0, help="of the grid for transformers")
    asked = parser.parse_args()
    subject = Subject(**{name: getattr(asked, name) for name in asdict(Subject())})
    RESULTS.parent.mkdir(exist_ok=True)
    rows = [json.loads(x) for x in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    if not asked.table:
        alike = [
            r for r in rows if (r["model"], r["contrasts"]) == (subject.name, subject.contrasts)
        ]
        for seed in sorted(set(range(asked.seeds)) - {row["seed"] for row in alike}):
            rows.append(measured(subject, seed, asked.searches, asked.share, asked.rows))
            with RESULTS.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(rows[-1], flush=True)
    TABLE.write_text(tables(rows))
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
