"""A loop over repeng's ControlModel with transformers' generate, one call a cell."""

from __future__ import annotations

import torch
from common import read_task, serve_cells, transformers_generate
from repeng import ControlModel, ControlVector
from transformers import AutoModelForCausalLM


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    plain = AutoModelForCausalLM.from_pretrained(task["model"]).eval().to(task.device)
    plain.generation_config.eos_token_id = None
    layers = sorted({layer for layer, _ in task.cells})
    model = ControlModel(plain, layers)

    def steered(layer: int, dose: float) -> torch.Tensor:
        # repeng wants a direction for every layer that it controls
        directions = {i: task.vector(i).cpu().numpy() * (i == layer) for i in layers}
        model.reset()
        model.set_control(ControlVector(plain.config.model_type, directions), dose)
        return transformers_generate(model, task)

    serve_cells(task, steered)


if __name__ == "__main__":
    main()
