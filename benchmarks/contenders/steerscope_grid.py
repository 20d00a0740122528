"""steerscope: all cells and prompts as the rows of one cached batch."""

from __future__ import annotations

from common import Tokens, read_task, serve

import steerscope as ss
from steerscope.activations import Provenance
from steerscope.doses import Scale


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = ss.load_model(task.model)
    model.tokenizer.eos_token = None  # every contender writes all tokens
    origin = Provenance(model.name, model.fingerprint, "benchmark", "", "", 0, versions={})
    cells = [
        ss.Cell(
            (
                ss.Steering(
                    ss.Direction(
                        ss.Site("resid_post", layer),
                        task.vector(layer),
                        Scale(1.0, 1.0),
                        "random",
                        origin,
                    ),
                    ss.Dose(dose, "absolute"),
                    scope=ss.Scope.everywhere(),
                ),
            )
        )
        for layer, dose in task.cells
    ]

    def run() -> Tokens:
        found = ss.generate(model, task.prompts, cells, n_new=task.n_new)
        return [[list(c.tokens) for c in row] for row in found]

    serve(run)


if __name__ == "__main__":
    main()
