"""A loop over steering-vectors with transformers' generate, one call a cell."""

from __future__ import annotations

import torch
from common import Tokens, read_task, serve
from steering_vectors import SteeringVector
from transformers import AutoModelForCausalLM


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = AutoModelForCausalLM.from_pretrained(task.model).eval()
    model.generation_config.eos_token_id = None
    prompts = torch.tensor(task.prompts)

    def steered(layer: int, dose: float) -> list[list[int]]:
        vector = SteeringVector({layer: task.vector(layer)}, "decoder_block")
        with vector.apply(model, multiplier=dose):
            out = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=task.n_new,
                do_sample=False,
                pad_token_id=0,
            )
        return out[:, prompts.shape[1] :].tolist()

    def run() -> Tokens:
        return [steered(layer, dose) for layer, dose in task.cells]

    serve(run)


if __name__ == "__main__":
    main()
