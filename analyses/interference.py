"""Which directions overlap, and whether steering along two costs more than the sum of both.

Run from the project's folder: `python analyses/interference.py`. The table goes to
`figures/`.
"""

from __future__ import annotations

from _drawing import options, write

from steerscope import (
    Dose,
    Site,
    extract,
    find_direction,
    interference_table,
    load_contrasts,
    load_model,
    load_prompts,
)
from steerscope.progress import bar
from steerscope.runs.tables import Column, Table


def main() -> None:
    """One direction for each concept at one site, every pair of them at one dose, draw."""
    parser = options(__doc__)
    parser.add_argument("--concepts", nargs="+", default=["mood", "register", "garden_sea"])
    parser.add_argument("--layer", type=int, default=3, help="where to steer, 0-based")
    parser.add_argument("--dose", type=float, default=0.5, help="of each, in relative units")
    parser.add_argument("--prompts", type=int, default=40)
    chosen = parser.parse_args()
    model, site = load_model(chosen.model), Site("resid_post", chosen.layer)
    dose = Dose(chosen.dose, "relative")
    parts = {}
    for name in chosen.concepts:
        contrast = extract(model, load_contrasts(name).split(0).fit, [site])[site]
        parts[name] = (find_direction("mean_diff", contrast), dose)
    prompts = load_prompts(chosen.contrasts).split(0).select.prompts[: chosen.prompts]
    table = interference_table(model, parts, [p.text for p in prompts], progress=bar)
    caption = (
        f"mean_diff at {site}, {chosen.dose:g} relative units each; E is KL(steered || plain) in nats per "
        f"position on n = {len(prompts)} prompts. In brackets the 95 % interval (bootstrap over prompts); "
        "geometry: what the overlap of the vectors alone would give."
    )
    columns = (
        Column("first", "first"),
        Column("second", "second"),
        Column("cosine", "cosine", 3, signed=True),
        Column("measured", "interference (nats)", 4, signed=True, low="low", high="high"),
        Column("predicted", "from geometry (nats)", 4, signed=True),
        Column("n", "n"),
    )
    write(Table("interference", table, columns, caption), chosen)


if __name__ == "__main__":
    main()
