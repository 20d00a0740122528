"""steerscope: every statistic of the keys of every head, point estimates."""

from __future__ import annotations

from common import read_task, serve

import steerscope as ss


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = ss.load_model(task["model"], device=task.device)
    serve(lambda: ss.head_statistics(model, task["prompts"])["gap"].tolist())


if __name__ == "__main__":
    main()
