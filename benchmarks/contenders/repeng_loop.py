"""A loop over repeng's ControlModel with transformers' generate, one call a cell."""

from __future__ import annotations

import torch
from common import Tokens, read_task, serve
from repeng import ControlModel, ControlVector
from transformers import AutoModelForCausalLM


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    plain = AutoModelForCausalLM.from_pretrained(task.model).eval()
    plain.generation_config.eos_token_id = None
    layers = sorted({layer for layer, _ in task.cells})
    model = ControlModel(plain, layers)
    prompts = torch.tensor(task.prompts)

    def steered(layer: int, dose: float) -> list[list[int]]:
        # repeng wants a direction for every layer that it controls
        directions = {i: task.vector(i).numpy() * (i == layer) for i in layers}
        vector = ControlVector(plain.config.model_type, directions)
        model.reset()
        model.set_control(vector, dose)
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
