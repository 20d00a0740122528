"""Time the eigengap of every head against one plain forward pass: part of `make bench`.

Writes `benchmarks/results/<device>-<shape>-eigengap.json` and prints a table of ratios.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from interleaved import interleaved, ratios, table, write_result
from shapes import SHAPES, make_model, random_prompts

CONTENDERS = {
    "steerscope": ("steerscope_eigengap.py", False),
    "hooked_forward": ("plain_hooked_forward.py", False),
    "transformers_forward": ("plain_forward.py", False),
}
TARGET = 1.2  # times the plain forward pass of the same backbone


def main() -> None:
    """Measure one shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", nargs="?", default="gpt2-124m", choices=SHAPES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = make_model(options.shape, folder)
        prompts = random_prompts(path, options.prompts, options.prompt_tokens)
        task = {"model": str(path), "device": options.device, "prompts": prompts}
        (folder / "task.json").write_text(json.dumps(task))
        seconds, answers = interleaved(CONTENDERS, folder, options.repetitions)
    gaps = answers["steerscope"]
    over_plain = {name: 1 / ratio for name, ratio in ratios(seconds).items()}
    result = {
        "shape": options.shape,
        "device": options.device,
        "threads": 2,
        "task": {
            "layers": len(gaps),
            "heads": len(gaps[0]),
            "prompts": options.prompts,
            "prompt_tokens": options.prompt_tokens,
        },
        "seconds": seconds,
        "cost_over_plain": over_plain,
        "target": TARGET,
    }
    write_result(f"{options.device}-{options.shape}-eigengap", result)
    notes = {name: f"the eigengap costs {cost:.2f} of it" for name, cost in over_plain.items()}
    print(table(f"eigengap, {options.shape} on {options.device}", seconds, notes))


if __name__ == "__main__":
    main()
