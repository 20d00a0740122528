"""A loop of hooked full forwards of HookedTransformer, all prompts in a batch, one call a cell."""

from __future__ import annotations

import torch
from common import read_task, serve
from transformer_lens import HookedTransformer

import steerscope as ss


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    loaded = ss.load_model(task["model"], backbone="hooked", device=task.device).transformer
    # A second object with the same weights, which no steerscope code runs.
    model = HookedTransformer(loaded.cfg, loaded.tokenizer)
    model.load_state_dict(loaded.state_dict())
    model.eval()
    prompts = task.prompts

    def run() -> list[list[float]]:
        log_q = torch.log_softmax(model(prompts, prepend_bos=False)[:, 1:], dim=-1)

        def kl(layer: int, dose: float) -> list[float]:
            change = dose * task.vector(layer)
            hook = (f"blocks.{layer}.hook_resid_post", lambda x, hook: x + change)  # noqa: ARG005
            log_p = model.run_with_hooks(prompts, fwd_hooks=[hook])[:, 1:].log_softmax(dim=-1)
            return (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean(dim=-1).tolist()

        return [kl(*cell) for cell in task.cells]

    serve(run)


if __name__ == "__main__":
    main()
