"""One plain forward pass of HookedTransformer over all prompts, to the logits, without any hook."""

from __future__ import annotations

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
    serve(lambda: list(model(prompts, prepend_bos=False).shape))


if __name__ == "__main__":
    main()
