"""One plain forward pass of transformers' own model over all prompts, to the logits."""

from __future__ import annotations

import transformers as hf
from common import read_task, serve


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = hf.AutoModelForCausalLM.from_pretrained(task["model"]).to(task.device).eval()
    prompts = task.prompts
    serve(lambda: list(model(prompts, use_cache=False).logits.shape))


if __name__ == "__main__":
    main()
