"""Do models of other shapes lay out the same concepts alike?

Every value of every hidden variable of the microworld is a concept. Models of three more shapes and
seeds are trained on its stories (some minutes; kept in `data/runs/geometry/`), and beside each lies
one of the same shape that never learned. Run from the project's folder:
`python analyses/cross_model_geometry.py`. The tables and the picture go to `figures/`. Static
pictures need `steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from _drawing import FIGURES, ROOT, save
from transformers import AutoTokenizer

from steerscope import (
    ContrastSet,
    LensModel,
    Site,
    compare_geometries,
    cosine_matrix,
    extract,
    figures,
    load_model,
)
from steerscope.microworld.concepts import concept_sets, variable_of
from steerscope.microworld.train import TrainingPlan, trained
from steerscope.progress import bar
from steerscope.studies.geometry import geometries_in_words
from steerscope.texts.bundled import bundled_models

SHORT = TrainingPlan(steps=400, stories_per_step=32, warmup_steps=40, threads=1)
PLANS = {
    "4 layers of 64": replace(
        SHORT, seed=1, n_layers=4, d_model=64, n_heads=4, n_key_value_heads=2, d_mlp=176
    ),
    "2 layers of 96": replace(
        SHORT, seed=2, n_layers=2, d_model=96, n_heads=6, n_key_value_heads=3, d_mlp=256
    ),
    "3 layers of 64": replace(
        SHORT, seed=3, n_layers=3, d_model=64, n_heads=4, n_key_value_heads=4, d_mlp=176
    ),
}
SHIPPED = "microworld"


def main() -> None:
    """Train, read the concepts, compare, say and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=60, help="stories of each concept")
    parser.add_argument(
        "--depths",
        type=float,
        nargs="+",
        default=[0.5, 0.25, 0.75],
        help="share of the blocks that have run; the first is drawn",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    torch.set_num_threads(SHORT.threads)
    models = load_all()
    nulls = [name for name in models if name.endswith("untrained")]
    sets = concept_sets(options.texts, seed=options.seed)
    concepts, groups = list(sets), [variable_of(c) for c in sets]
    vectors = {
        name: concept_vectors(model, sets, options.depths)
        for name, model in bar(models.items(), "reading concepts")
    }
    tables, said = [], []
    for depth, centred in product(options.depths, (True, False)):
        found = {name: cosine_matrix(v[depth], centred=centred) for name, v in vectors.items()}
        table = compare_geometries(
            found, concepts=concepts, groups=groups, nulls=nulls, seed=options.seed
        )
        mean = "the mean over concepts taken away" if centred else "the shared mean left in"
        said.append(
            f"After {depth:.0%} of the blocks or the nearest to it, {mean}: {geometries_in_words(table)}"
        )
        print(f"{said[-1]}\n")
        tables.append(table.assign(depth=depth, centred=centred))
        if centred and depth == options.depths[0]:
            draw(found, concepts, depth, options.format)
    said.append("")
    (FIGURES / "geometry.txt").write_text("\n".join(said))
    pd.concat(tables).round(6).to_csv(FIGURES / "geometry-pairs.csv", index=False)


def load_all() -> dict[str, LensModel]:
    """The bundled model, those trained for this, and one of each shape that never learned."""
    tokenizer: Any = AutoTokenizer.from_pretrained(bundled_models()[SHIPPED])
    plans = {f"{name}, trained": plan for name, plan in PLANS.items()}
    plans |= {f"{name}, untrained": replace(plan, steps=0) for name, plan in PLANS.items()}
    folder = ROOT / "data/runs/geometry"
    made = {
        name: trained(folder / name.replace(", ", "-").replace(" ", "_"), tokenizer, plan)
        for name, plan in plans.items()
    }
    return {SHIPPED: load_model(SHIPPED)} | {name: load_model(p) for name, p in made.items()}


def concept_vectors(
    model: LensModel, sets: dict[str, ContrastSet], depths: list[float]
) -> dict[float, np.ndarray]:
    """Mean of each concept minus the neutral mean, at the last token, after shares of the blocks."""
    n = model.shape.n_layers
    sites = {depth: Site("resid_post", max(0, round(depth * n) - 1)) for depth in depths}
    found = [extract(model, s, list(sites.values())) for s in sets.values()]
    return {
        depth: torch.stack([f[site].mean_difference for f in found]).double().numpy()
        for depth, site in sites.items()
    }


def draw(geometries: dict[str, np.ndarray], concepts: list[str], depth: float, form: str) -> None:
    """The matrices of all models but the null ones of the smaller shapes."""
    untrained = [name for name in geometries if name.endswith("untrained")]
    shown = {name: m for name, m in geometries.items() if name not in untrained[1:]}
    figure = figures.concept_geometry(
        shown,
        concepts=concepts,
        title=f"Cosines between concepts after {depth:.0%} of the blocks, mean taken away",
    )
    save("geometry", figure, form)


if __name__ == "__main__":
    main()
