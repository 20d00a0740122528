"""What every contender needs, in either environment: the task, and a loop that waits for `go`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

Tokens = list[list[list[int]]]


@dataclass(frozen=True)
class Task:
    """Cells (layer, dose) by prompts of one length, and how many tokens to add to each."""

    folder: Path
    prompts: list[list[int]]
    cells: list[tuple[int, float]]
    n_new: int

    @property
    def model(self) -> Path:
        """Folder of the weights, in Hugging Face format."""
        return Path(json.loads((self.folder / "task.json").read_text())["model"])

    def vector(self, layer: int) -> torch.Tensor:
        """The unit vector that is added to the output of a block."""
        return load_file(self.folder / "vectors.safetensors")[str(layer)]


def read_task() -> Task:
    """The task in the folder that is the first argument."""
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    folder = Path(sys.argv[1])
    stored = json.loads((folder / "task.json").read_text())
    cells = [(int(layer), float(dose)) for layer, dose in stored["cells"]]
    return Task(folder, stored["prompts"], cells, stored["n_new"])


def serve(run: Callable[[], Tokens]) -> None:
    """Time one run for every line on standard input and answer with seconds and tokens."""
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        tokens = run()
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "tokens": tokens}), flush=True)
