"""steerscope: singular values once, every prompt once, of every edit the blocks from its layer up."""

from __future__ import annotations

from common import read_task, serve

import steerscope as ss
from steerscope.weights import forget_weights


def main() -> None:
    """Load once, then run on demand; every run finds the singular values anew, once."""
    task = read_task()
    model = ss.load_model(task["model"], device=task.device)
    places = [(f"down:{layer}:{amount:g}", edit) for edit, layer, amount in task["edits"]]
    cells = [ss.Cell((ss.WeightEdit.parse(edit, place),)) for place, edit in places]

    def run() -> list[list[float]]:
        forget_weights(model)
        return ss.kl_from_plain(model, task["prompts"], cells).tolist()

    serve(run)


if __name__ == "__main__":
    main()
