"""Time reading contrast pairs at all layers, and watch the peak memory: part of `make bench`.

Every contender runs at several batch sizes, in turns, and is judged by its best. Writes
`benchmarks/results/<device>-<shape>-extract.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import Worker, table, write_result
from shapes import make_model, random_prompts

SCRIPTS = {
    "steerscope": ("steerscope_extract.py", False),
    "steering_vectors": ("steering_vectors_extract.py", True),
    "repeng": ("repeng_extract.py", True),
}


def write_task(folder: Path, model: Path, n_pairs: int, batch_size: int, streaming: bool) -> Path:
    """A folder with the task for one contender at one batch size."""
    words = [" ".join(f"w{i}" for i in p[1:]) for p in random_prompts(model, 2 * n_pairs, 16)]
    pairs = list(zip(words[0::2], words[1::2], strict=True))
    where = folder / f"{n_pairs}-{batch_size}-{streaming}"
    where.mkdir(exist_ok=True)
    task = {"model": str(model), "pairs": pairs, "batch_size": batch_size, "streaming": streaming}
    (where / "task.json").write_text(json.dumps(task))
    return where


def times(folder: Path, model: Path, options: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """Seconds by contender and batch size, and the largest difference between the vectors."""
    workers = {
        (name, size): Worker(
            name,
            script,
            write_task(folder, model, options.pairs, size, False),
            is_peer=peer,
        )
        for name, (script, peer) in SCRIPTS.items()
        for size in options.batch_sizes
    }
    answers = {key: np.array(worker.run()["answer"]) for key, worker in workers.items()}
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in SCRIPTS}
    for _ in range(options.repetitions):
        for (name, size), worker in workers.items():
            seconds[name].setdefault(str(size), []).append(worker.run()["seconds"])
    for worker in workers.values():
        worker.stop()
    ours = answers["steerscope", options.batch_sizes[0]]
    # repeng reads the last layer behind the final norm, so that layer is left out.
    gap = max(float(np.abs(a[:-1] - ours[:-1]).max()) for a in answers.values())
    return seconds, gap


def peak_memory(folder: Path, model: Path, n_pairs: int, *, streaming: bool) -> int:
    """Bytes that a process of ours takes at most for so many pairs."""
    task = write_task(folder, model, n_pairs, 32, streaming)
    worker = Worker("steerscope", SCRIPTS["steerscope"][0], task, is_peer=False)
    peak = worker.run()["peak"]
    worker.stop()
    return peak


def main() -> None:
    """Measure one shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--many", type=int, default=4096)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--memory", nargs="*", default=["moments", "pairs"])
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model("gpt2-124m", folder)
        seconds, gap = times(folder, model, options)
        peaks = {
            f"{kind} {n}": peak_memory(folder, model, n, streaming=kind == "moments")
            for kind in options.memory
            for n in (options.pairs, options.many)
        }
    best = {n: min(s.values(), key=statistics.median) for n, s in seconds.items()}
    ours = statistics.median(best["steerscope"])
    result = {
        "shape": "gpt2-124m",
        "device": "cpu",
        "threads": 2,
        "task": {"pairs": options.pairs, "tokens": 16, "layers": 12},
        "largest_difference": gap,
        "seconds": seconds,
        "ratios": {n: statistics.median(s) / ours for n, s in best.items() if n != "steerscope"},
        "peak_bytes": peaks,
    }
    write_result("cpu-gpt2-124m-extract", result)
    print(table("reading pairs, best batch size of each", best, {}))
    print(f"  largest difference of a component: {gap:.1e}")
    for what, peak in peaks.items():
        print(f"  peak memory, {what} pairs: {peak / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
