"""A loop over `HookedTransformer.generate`, one call a cell."""

from __future__ import annotations

import torch
from common import read_task, serve_cells

import steerscope as ss


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    # TransformerLens' own cache, which this loop uses, goes through TransformerLens' own attention.
    loaded = ss.load_model(task["model"], backbone="hooked", device=task.device, dtype=task.dtype)
    model = loaded.transformer

    n_prompt = task.prompts.shape[1] if task.spares_prompts else 0

    def steered(layer: int, dose: float) -> torch.Tensor:
        change = (dose * task.vector(layer)).to(loaded.dtype)
        hook = (  # a pass over the prompts is spared where the task spares them
            f"blocks.{layer}.hook_resid_post",
            lambda x, hook: x if x.shape[1] == n_prompt else x + change,  # noqa: ARG005
        )
        with model.hooks(fwd_hooks=[hook]):
            return model.generate(
                task.prompts,
                max_new_tokens=task["n_new"],
                do_sample=False,
                stop_at_eos=False,
                verbose=False,
            )

    serve_cells(task, steered)


if __name__ == "__main__":
    main()
