"""Do the routes to a concept's features agree, and do concepts share features, beyond chance?

Run from the project's folder: `python analyses/sae_overlap.py`. Autoencoders at other layers, seeds
and sparsities are trained on the way and kept in `data/runs/sae/`, where the tables go too; the
figures go to `figures/`. Static pictures need `steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from time import perf_counter

from _drawing import FIGURES, ROOT, save

from steerscope import LensModel, Site, figures, load_contrasts, load_model
from steerscope.progress import bar
from steerscope.sae import SaePlan, SparseAutoencoder, load_sae, load_texts, train_sae
from steerscope.sae.codes import firing_rates
from steerscope.studies.features.overlap import overlap_table
from steerscope.studies.features.sources import concept_sets, settings_within

OUT = ROOT / "data/runs/sae"
CONCEPTS = ("mood", "register", "garden_sea")
# layer, seed, features active at a time: one choice varied at a time
VARIED = ((1, 0, 16), (3, 0, 16), (6, 0, 16), (3, 1, 16), (3, 2, 16), (3, 0, 6), (3, 0, 40))
SHOWN = ["pair", "shared", "expected", "chance_high", "drawn_high", "jaccard", "rbo",
         "p_hypergeometric", "p_permutation", "p_holm"]  # fmt: skip


def main() -> None:
    """Routes, concepts, and the same over layers, seeds and sparsities."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sae", default="microworld", help="bundled name, folder or RELEASE/ID")
    parser.add_argument("--k", type=int, default=20, help="features of each set")
    parser.add_argument("--pairs", type=int, default=60, help="pairs of each concept")
    parser.add_argument("--activations", type=int, default=100_000, help="of each training")
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    started = perf_counter()
    OUT.mkdir(parents=True, exist_ok=True)
    model = load_model("microworld")
    sae = load_sae(options.sae, model=model)
    texts = load_texts("microworld", "held out", n=200, seed=0)
    routes(model, sae, texts, options)
    robustness(model, texts, options)
    print(f"{perf_counter() - started:.0f} seconds")


def sets_of(model: LensModel, sae: SparseAutoencoder, k: int, pairs: int) -> dict:
    """Feature sets of every concept by every route."""
    found = {}
    for name in CONCEPTS:
        fit = load_contrasts(name).split(0).fit
        part = type(fit)(fit.name, fit.pairs[:pairs])
        found[name] = concept_sets(model, sae, part, k)
    return found


def routes(
    model: LensModel, sae: SparseAutoencoder, texts: list[str], options: argparse.Namespace
) -> None:
    """All pairs of routes to the mood, and all pairs of concepts by one route."""
    found = sets_of(model, sae, options.k, options.pairs)
    rates = {sae.name: firing_rates(model, sae, texts)}
    across = {name: sets["codes"] for name, sets in found.items()}
    for kind, sets, title in (
        ("routes", found["mood"], "Routes to the mood"),
        ("concepts", across, "Concepts, by their codes"),
    ):
        depths = sorted({1, 2, 5, 10, options.k})
        table = overlap_table(settings_within(sets, {"kind": kind}), depths=depths, frequency=rates)
        table.to_csv(OUT / f"overlap-{kind}.csv", index=False)
        last = table[table.k == options.k]
        print(f"\n{title}, the first {options.k} of {sae.n_features}:")
        print(last[SHOWN].to_string(index=False, float_format="%.3g"))
        figure = figures.feature_overlap(last, by="pair", title=title)
        save(f"sae-overlap-{kind}", figure, options.format)


def robustness(model: LensModel, texts: list[str], options: argparse.Namespace) -> None:
    """The codes' features against the steered ones, over layers, seeds and sparsities."""
    settings, rates = [], {}
    for layer, seed, active in VARIED:
        name = f"layer {layer}, seed {seed}, k {active}"
        folder = OUT / name.replace(", ", "-").replace(" ", "")
        plan = SaePlan(n_features=512, k=active, n_activations=options.activations, seed=seed)
        material = load_texts("microworld", "train", n=2000, seed=seed)
        sae = train_sae(model, Site("resid_post", layer), material, plan, folder=folder, track=bar)
        rates[sae.name] = firing_rates(model, sae, texts)
        labels = {"layer": layer, "seed": seed, "l0": active, "setting": name}
        for concept, sets in sets_of(model, sae, options.k, options.pairs).items():
            mine = {**labels, "concept": concept, "label": f"{concept}, {name}"}
            settings.append((mine, sets["codes"], sets["steered"]))
    table = overlap_table(settings, depths=[options.k], frequency=rates)
    written = table.drop(columns="dictionary").round(6)
    written.to_csv(FIGURES / "sae-overlap-robustness.csv", index=False)
    print("\ncodes against steered, over layers, seeds and sparsities:")
    columns = ["label", "shared", "chance_high", "drawn_high", "p_permutation", "p_holm"]
    print(table[columns].to_string(index=False, float_format="%.3g"))
    title = "Found in pairs and moved by steering"
    figure = figures.feature_overlap(table, by="setting", title=title, panels="concept")
    save("sae-overlap-steered", figure, options.format)


if __name__ == "__main__":
    main()
