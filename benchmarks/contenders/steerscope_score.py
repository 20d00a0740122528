"""steerscope: every prompt once, and of every cell the blocks from its site upward."""

from __future__ import annotations

from cells import cells
from common import read_task, serve

import steerscope as ss


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = ss.load_model(task["model"], device=task.device)
    conditions = cells(task, model)
    serve(lambda: ss.kl_from_plain(model, task["prompts"], conditions).tolist())


if __name__ == "__main__":
    main()
