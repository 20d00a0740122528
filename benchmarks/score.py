"""Time KL of many conditions against a loop of hooked full forwards: part of `make bench`.

Writes `benchmarks/results/<device>-<shape>-score.json` and prints a table of ratios.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from interleaved import interleaved, ratios, table, write_result
from shapes import SHAPES, make_model, random_prompts, write_vectors

CONTENDERS = {
    "steerscope": ("steerscope_score.py", False),
    "hooked_forwards": ("hooked_score_loop.py", False),
}


def main() -> None:
    """Measure one shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", nargs="?", default="gpt2-124m", choices=SHAPES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--doses", type=int, default=7)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = make_model(options.shape, folder)
        n_layers = write_vectors(path, folder)
        cells = [(i, 2.0 * (k + 1)) for i in range(n_layers) for k in range(options.doses)]
        prompts = random_prompts(path, options.prompts, options.prompt_tokens)
        task = {"model": str(path), "device": options.device, "prompts": prompts, "cells": cells}
        (folder / "task.json").write_text(json.dumps(task))
        seconds, answers = interleaved(CONTENDERS, folder, options.repetitions)
    ours, theirs = (np.array(answers[name]) for name in CONTENDERS)
    gap = float(np.abs(ours - theirs).max())
    result = {
        "shape": options.shape,
        "device": options.device,
        "threads": 2,
        "task": {
            "layers": n_layers,
            "doses": options.doses,
            "prompts": options.prompts,
            "prompt_tokens": options.prompt_tokens,
        },
        "largest_difference_nats": gap,
        "largest_kl_nats": float(theirs.max()),
        "seconds": seconds,
        "ratios": ratios(seconds),
    }
    write_result(f"{options.device}-{options.shape}-score", result)
    notes = {"hooked_forwards": f"KL the same to {gap:.1e} of {theirs.max():.3g} nats"}
    print(table(f"KL, {options.shape} on {options.device}", seconds, notes))


if __name__ == "__main__":
    main()
