"""A loop over transformers' generate with a forward hook, one call a cell."""

from __future__ import annotations

import torch
from common import load_original, read_task, serve_cells, transformers_generate
from torch import nn
from transformers_batch import steer


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = load_original(task)
    blocks = next(m for m in model.base_model.modules() if isinstance(m, nn.ModuleList))

    n_prompt = task.prompts.shape[1] if task.spares_prompts else 0

    def steered(layer: int, dose: float) -> torch.Tensor:
        change = (dose * task.vector(layer)).to(model.dtype)
        handle = steer(blocks[layer], change, spares=n_prompt)
        try:
            return transformers_generate(model, task)
        finally:
            handle.remove()

    serve_cells(task, steered)


if __name__ == "__main__":
    main()
