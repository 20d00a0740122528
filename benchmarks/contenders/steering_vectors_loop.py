"""A loop over steering-vectors with transformers' generate, one call a cell."""

from __future__ import annotations

import torch
from common import read_task, serve_cells, transformers_generate
from steering_vectors import SteeringVector
from transformers import AutoModelForCausalLM


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = AutoModelForCausalLM.from_pretrained(task["model"]).eval().to(task.device)
    model.generation_config.eos_token_id = None

    def steered(layer: int, dose: float) -> torch.Tensor:
        vector = SteeringVector({layer: task.vector(layer)}, "decoder_block")
        with vector.apply(model, multiplier=dose):
            return transformers_generate(model, task)

    serve_cells(task, steered)


if __name__ == "__main__":
    main()
