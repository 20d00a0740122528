"""A loop over `HookedTransformer.generate`, one call a cell."""

from __future__ import annotations

import torch
from common import Tokens, read_task, serve

import steerscope as ss


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    # A second object, since loading through steerscope changes how attention runs with its cache;
    # TransformerLens' own cache, which this loop uses, goes through TransformerLens' own code.
    model = ss.load_model(task.model, backbone="hooked").transformer
    prompts = torch.tensor(task.prompts)

    def steered(layer: int, dose: float) -> list[list[int]]:
        change = dose * task.vector(layer)
        hook = (f"blocks.{layer}.hook_resid_post", lambda x, hook: x + change)  # noqa: ARG005
        with model.hooks(fwd_hooks=[hook]):
            out = model.generate(
                prompts,
                max_new_tokens=task.n_new,
                do_sample=False,
                stop_at_eos=False,
                verbose=False,
            )
        return out[:, prompts.shape[1] :].tolist()

    def run() -> Tokens:
        return [steered(layer, dose) for layer, dose in task.cells]

    serve(run)


if __name__ == "__main__":
    main()
