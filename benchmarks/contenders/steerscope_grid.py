"""steerscope: all cells and prompts as the rows of one cached batch."""

from __future__ import annotations

from cells import cells
from common import read_task, serve

import steerscope as ss


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = ss.load_model(task["model"], device=task.device, dtype=task.dtype)
    model.tokenizer.eos_token = None  # every contender writes all tokens
    conditions = cells(task, model)

    def run() -> list[list[list[int]]]:
        found = ss.generate(model, task["prompts"], conditions, n_new=task["n_new"])
        return [[list(c.tokens) for c in row] for row in found]

    serve(run)


if __name__ == "__main__":
    main()
