"""Length, separation, stability and zone of every layer in one strip of aligned panels.

Run from the project's folder: `python analyses/layer_anatomy.py`. The picture goes to `figures/`; the
zones come from the shared run in `data/runs/`.
"""

from __future__ import annotations

from dataclasses import replace

from _drawing import draw, options, shared_run

from steerscope import figures, layer_anatomy, load_contrasts, load_model
from steerscope.figures.files import Plate
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.zones import zones_of


def main() -> None:
    """Measure the layers on the fit pairs, take the zones from the run, draw."""
    parser = options(__doc__)
    parser.add_argument("--pairs", type=int, default=120, help="fit pairs to use")
    chosen = parser.parse_args()
    zoning = zones_of(find(shared_run(chosen)))
    fit = load_contrasts(chosen.contrasts).split(0).fit
    pairs = replace(fit, pairs=fit.pairs[: chosen.pairs])
    anatomy = layer_anatomy(load_model(chosen.model), pairs)
    figure = figures.layer_anatomy(
        anatomy, None if zoning is None else zoning.table, site="outputs of the blocks"
    )
    caption = (
        f"n = {len(pairs)} fit pairs; bands are 95 % intervals (bootstrap over texts and pairs; for the "
        "stability over 50 random halvings). Length: mean over tokens but position 0. One relative unit "
        f"is the median length of an activation. {'' if zoning is None else zoning}"
    )
    draw(Plate("layer_anatomy", figure, caption), chosen)


if __name__ == "__main__":
    main()
