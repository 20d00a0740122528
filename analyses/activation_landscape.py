"""A plane of the activations, both classes, and the path of steering through it.

Run from the project's folder: `python analyses/activation_landscape.py`. The picture goes to
`figures/`.
"""

from __future__ import annotations

from dataclasses import replace

from _drawing import draw, options

from steerscope import (
    Site,
    activation_landscape,
    extract,
    figures,
    find_direction,
    load_contrasts,
    load_model,
)
from steerscope.figures.files import Plate

DOSES = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)


def main() -> None:
    """Find the direction on the fit pairs, walk along it on others, draw."""
    parser = options(__doc__)
    parser.add_argument("--layer", type=int, default=3, help="where to steer, 0-based")
    parser.add_argument("--axes", default="classes", help="classes or components")
    parser.add_argument("--pairs", type=int, default=60, help="held-out pairs to draw")
    chosen = parser.parse_args()
    model, pairs = load_model(chosen.model), load_contrasts(chosen.contrasts).split(0)
    steered = Site("resid_post", chosen.layer)
    direction = find_direction("mean_diff", extract(model, pairs.fit, [steered])[steered])
    shown = replace(pairs.select, pairs=pairs.select.pairs[: chosen.pairs])
    found = activation_landscape(
        model, shown, direction, doses=DOSES, site=steered, axes=chosen.axes
    )
    figure = figures.activation_landscape(
        found.points,
        found.path,
        explained=found.explained,
        site=str(found.site),
        axes=found.axes,
    )
    caption = (
        f"Last token of n = {len(shown)} held-out pairs, axes of the plain activations; the path is the "
        f"mean of all texts with mean_diff added at {steered}, doses in natural units from the fit "
        "pairs. A mean over texts, drawn without an interval."
    )
    draw(Plate("landscape", figure, caption), chosen)


if __name__ == "__main__":
    main()
