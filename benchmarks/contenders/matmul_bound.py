"""The matrix products with the weights that the rows cannot do without, and nothing else.

Every row's prompt through every block, then one token a row through every block and the unembedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from common import load_original, read_task, serve


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = load_original(task)
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
            w.shape[1]: torch.randn(n_tokens, w.shape[1], device=task.device, dtype=w.dtype)
            for w in matrices
        }
        for w in matrices:
            F.linear(inputs[w.shape[1]], w)
        last = torch.randn(n_rows, size, device=task.device, dtype=unembedding.dtype)
        F.linear(last, unembedding)

    def run() -> None:
        products(n_rows * n_prompt)
        for _ in range(task["n_new"] - 1):
            products(n_rows)

    serve(run)


if __name__ == "__main__":
    main()
