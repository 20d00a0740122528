"""As many plain scorings: one forward pass of our own model and its token scores, one after another."""

from __future__ import annotations

import torch
from common import read_task, serve

import steerscope as ss


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = ss.load_model(task["model"], device=task.device)
    tokens = task.prompts

    @torch.no_grad()
    def run() -> list[float]:
        return [
            float(
                model.forward(tokens)[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None]).mean()
            )
            for _ in task["edits"]
        ]

    serve(run)


if __name__ == "__main__":
    main()
