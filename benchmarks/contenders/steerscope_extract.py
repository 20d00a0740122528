"""steerscope: class means in one stream over the pairs, or every pair's activations."""

from __future__ import annotations

from common import read_task, serve

import steerscope as ss


def main() -> None:
    """Load once, then run on demand."""
    task = read_task()
    model = ss.load_model(task["model"], device=task.device)
    pairs = tuple(ss.ContrastPair(*texts, "benchmark") for texts in task["pairs"])
    contrasts = ss.ContrastSet("benchmark", pairs)
    sites = [ss.Site("resid_post", layer) for layer in range(model.shape.n_layers)]
    read = ss.extract_moments if task["streaming"] else ss.extract

    def run() -> list[list[float]]:
        found = read(model, contrasts, sites, batch_size=task["batch_size"])
        return [found[site].mean_difference.tolist() for site in sites]

    serve(run)


if __name__ == "__main__":
    main()
