"""transformers' generate, once: every cell and prompt is a row of one batch, with a vector of its own."""

from __future__ import annotations

from typing import Any

import torch
from common import load_original, read_task, serve, transformers_generate
from torch import nn
from torch.utils.hooks import RemovableHandle


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = load_original(task)
    blocks = next(m for m in model.base_model.modules() if isinstance(m, nn.ModuleList))
    n_prompts, width = len(task.prompts), model.get_input_embeddings().weight.shape[1]
    shape = (len(task.cells) * n_prompts, 1, width)
    added = {layer: torch.zeros(shape, device=task.device) for layer, _ in task.cells}
    for number, (layer, dose) in enumerate(task.cells):
        rows = slice(number * n_prompts, (number + 1) * n_prompts)
        added[layer][rows] = dose * task.vector(layer)
    n_prompt = task.prompts.shape[1] if task.spares_prompts else 0
    for layer, change in added.items():
        steer(blocks[layer], change.to(model.dtype), spares=n_prompt)
    prompts = task.prompts.repeat(len(task.cells), 1)

    def run() -> list[list[list[int]]]:
        written = transformers_generate(model, task, prompts)[:, prompts.shape[1] :]
        return written.reshape(len(task.cells), n_prompts, -1).tolist()

    serve(run)


def steer(block: nn.Module, change: torch.Tensor, *, spares: int) -> RemovableHandle:
    """Have the output of a block changed, row by row, but in a pass over so many tokens, the prompts."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if (output[0] if isinstance(output, tuple) else output).shape[1] == spares:
            return output
        if isinstance(output, tuple):
            return (output[0] + change, *output[1:])
        return output + change

    return block.register_forward_hook(hook)


if __name__ == "__main__":
    main()
