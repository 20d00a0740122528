"""Time a sweep of weight edits against as many plain scorings: part of `make bench`.

A scoring is one forward pass over the prompts with its token scores. Every run of ours begins without
singular values and finds those of each layer once. Writes
`benchmarks/results/<device>-<shape>-weights.json` and prints a table of ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from interleaved import interleaved, table, write_result
from shapes import SHAPES, make_model, random_prompts
from transformers import AutoConfig

CONTENDERS = {
    "steerscope": ("steerscope_weights.py", False),
    "plain_scorings": ("plain_scorings.py", False),
}
EDITS = ("gain", "power", "zscore")
AMOUNTS = (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)
ALLOWED = 1.3  # our time over that of the plain scorings


def main() -> None:
    """Measure one shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", nargs="?", default="gpt2-124m", choices=SHAPES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layers", type=int, default=12, help="at most")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = make_model(options.shape, folder)
        n_layers = min(options.layers, AutoConfig.from_pretrained(path).num_hidden_layers)
        edits = [(e, i, a) for e in EDITS for i in range(n_layers) for a in AMOUNTS]
        prompts = random_prompts(path, options.prompts, options.prompt_tokens)
        task = {"model": str(path), "device": options.device, "prompts": prompts, "edits": edits}
        (folder / "task.json").write_text(json.dumps(task))
        seconds, answers = interleaved(CONTENDERS, folder, options.repetitions)
    ours, plain = (statistics.median(seconds[name]) for name in CONTENDERS)
    result = {
        "shape": options.shape,
        "device": options.device,
        "threads": 2,
        "task": {
            "edits": EDITS,
            "layers": n_layers,
            "amounts": AMOUNTS,
            "prompts": options.prompts,
            "prompt_tokens": options.prompt_tokens,
        },
        "largest_kl_nats": max(max(row) for row in answers["steerscope"]),
        "seconds": seconds,
        "cost_over_plain": ours / plain,
        "allowed": ALLOWED,
    }
    write_result(f"{options.device}-{options.shape}-weights", result)
    notes = {"plain_scorings": f"ours costs {ours / plain:.2f} of it, at most {ALLOWED} allowed"}
    print(table(f"{len(edits)} weight edits, {options.shape}", seconds, notes))


if __name__ == "__main__":
    main()
