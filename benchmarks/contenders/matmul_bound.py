"""The matrix products with the weights that the rows cannot do without, and nothing else.

Every row's prompt through every block, then one token a row through every block and the unembedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from common import read_task, serve
from transformers import AutoModelForCausalLM


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = AutoModelForCausalLM.from_pretrained(task["model"]).eval().to(task.device)
    unembedding = model.get_output_embeddings().weight
    size = unembedding.shape[1]
    matrices = [
        w.T.contiguous() if type(module).__name__ == "Conv1D" else w
        for module in model.base_model.modules()
        for w in module.parameters(recurse=False)
        if w.ndim == 2 and type(module).__name__ in {"Linear", "Conv1D"}
    ]
    n_rows, n_prompt = len(task.cells) * len(task.prompts), len(task.prompts[0])

    def products(n_tokens: int) -> None:
        inputs = {
            w.shape[1]: torch.randn(n_tokens, w.shape[1], device=task.device) for w in matrices
        }
        for w in matrices:
            F.linear(inputs[w.shape[1]], w)
        F.linear(torch.randn(n_rows, size, device=task.device), unembedding)

    def run() -> None:
        products(n_rows * n_prompt)
        for _ in range(task["n_new"] - 1):
            products(n_rows)

    serve(run)


if __name__ == "__main__":
    main()
