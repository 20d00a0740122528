"""Time one decoded sweep under every contender, interleaved: part of `make bench`.

Writes `benchmarks/results/<device>-<shape>.json` and prints a table of ratios.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from interleaved import interleaved, ratios, table, write_result
from shapes import SHAPES, make_model, random_prompts, write_vectors

CONTENDERS = {  # name in the results: script, whether it runs in the peers' environment
    "steerscope": ("steerscope_grid.py", False),
    "transformers_batch": ("transformers_batch.py", False),
    "transformers_loop": ("transformers_loop.py", False),
    "steering_vectors": ("steering_vectors_loop.py", True),
    "repeng": ("repeng_loop.py", True),
    "hooked_loop": ("hooked_loop.py", False),
    "matmul_bound": ("matmul_bound.py", False),
}


SCOPES = ("everywhere", "generated")  # the tokens that vectors are added to
OF_ONE_SCOPE = ("steering_vectors", "repeng", "matmul_bound")  # contenders of the first alone


def write_task(shape: str, folder: Path, options: argparse.Namespace) -> int:
    """Write weights, unit vectors and the task itself; the number of its cells."""
    path = make_model(shape, folder, device=options.device, dtype=options.dtype)
    n_layers = write_vectors(path, folder)
    n_doses = max(1, options.cells // n_layers)
    cells = [(layer, 2.0 * (k + 1)) for layer in range(n_layers) for k in range(n_doses)]
    task = {
        "model": str(path),
        "device": options.device,
        "dtype": options.dtype,
        "prompts": random_prompts(path, options.prompts, options.prompt_tokens),
        "cells": cells[: options.cells],
        "n_new": options.n_new,
        "scope": options.scope,
    }
    (folder / "task.json").write_text(json.dumps(task))
    return len(task["cells"])


def measure(shape: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every contender and repetition, ratios of the medians, and whether tokens agree."""
    with tempfile.TemporaryDirectory() as name:
        n_cells = write_task(shape, Path(name), options)
        names = [n for n in options.contenders if of_scope(n, options.scope)]
        chosen = {name: CONTENDERS[name] for name in names}
        seconds, tokens = interleaved(chosen, Path(name), options.repetitions)
    return {
        "shape": shape,
        "device": device_name(options.device),
        "dtype": options.dtype,
        "threads": 2,
        "task": {
            "cells": n_cells,
            "prompts": options.prompts,
            "prompt_tokens": options.prompt_tokens,
            "new_tokens": options.n_new,
            "scope": options.scope,
        },
        "tokens_identical": {name: tokens[name] == tokens["steerscope"] for name in writers(names)},
        "texts_identical": {
            name: same_texts(tokens[name], tokens["steerscope"]) for name in writers(names)
        },
        "seconds": seconds,
        "ratios": ratios(seconds),
    }


def of_scope(name: str, scope: str) -> bool:
    """Whether a contender can add its vectors to these tokens."""
    return scope == SCOPES[0] or name not in OF_ONE_SCOPE


def writers(contenders: list[str]) -> list[str]:
    """The other contenders that write tokens."""
    return [name for name in contenders if name not in {"steerscope", "matmul_bound"}]


def same_texts(one: list[Any], other: list[Any]) -> float:
    """Share of continuations with the same tokens: in half precision ties are rounded apart."""
    texts = [(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)]
    return sum(a == b for a, b in texts) / len(texts)


def device_name(device: str) -> str:
    """The device as a reader knows it."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def result_name(shape: str, options: argparse.Namespace) -> str:
    """Name of the result file, the usual number format and prompt length left out."""
    name = f"{options.device}-{shape}"
    name += "" if options.dtype == "float32" else f"-{options.dtype}"
    lengths = (options.prompt_tokens, options.n_new)
    name += "" if options.scope == SCOPES[0] else f"-{options.scope}"
    return name if lengths == (16, 24) else f"{name}-{lengths[0]}-{lengths[1]}"


def main() -> None:
    """Measure the shapes that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=list(SHAPES[:2]), help=", ".join(SHAPES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--cells", type=int, default=36)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--n-new", type=int, default=24)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--scope", default=SCOPES[0], choices=SCOPES)
    options = parser.parse_args()
    for shape in options.shapes:
        if shape not in SHAPES:
            parser.error(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")
        result = measure(shape, options)
        write_result(result_name(shape, options), result)
        notes = {
            name: "same tokens" if share == 1 else f"{share:.0%} of the texts the same"
            for name, share in result["texts_identical"].items()
        }
        print(table(f"{shape} on {options.device}", result["seconds"], notes), flush=True)


if __name__ == "__main__":
    main()
