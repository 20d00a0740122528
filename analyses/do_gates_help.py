"""Does an eigengap gate help? Gated against ungated steering of all layers or heads, at one KL.

Run from the project's folder: `python analyses/do_gates_help.py`. The tables go to
`data/runs/gates/`, the figures to `figures/`. Static pictures need `steerscope[images]` and a Chrome
or Chromium.
"""

from __future__ import annotations

import argparse

import numpy as np
from _drawing import ROOT, save

from steerscope import (
    Cell,
    ContrastSet,
    LensModel,
    Sample,
    Site,
    eigengap,
    extract,
    figures,
    find_direction,
    load_contrasts,
    load_model,
    load_prompts,
)
from steerscope.eigengaps import HeadSpectra
from steerscope.engine.score import preferences
from steerscope.judges import choose_judge
from steerscope.steering.strengths import Constant
from steerscope.studies.gating import (
    Arm,
    arms,
    compare_arms,
    judged,
    matched_dose,
)
from steerscope.studies.gating_words import gates_in_words
from steerscope.texts.groups import distinct_prompts

CALIBRATION = 12  # prompts


def main() -> None:
    """Match every arm to one KL, measure held-out pairs and texts, say which gate helps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="microworld")
    parser.add_argument(
        "--contrasts", default="mood", help="contrast set with prompts of that name"
    )
    parser.add_argument("--kl", type=float, default=0.3, help="nats at which arms are compared")
    parser.add_argument("--prompts", type=int, default=60, help="held-out prompts to continue")
    parser.add_argument(
        "--random",
        type=int,
        nargs=2,
        default=[19, 5],
        help="permutations of the gaps, of layers and heads; with 19 of one it can be told what helps",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", default="png", help="html, png, svg or pdf")
    options = parser.parse_args()
    model, contrasts = load_model(options.model), load_contrasts(options.contrasts)
    pairs = contrasts.split(options.seed)
    prompts = load_prompts(options.contrasts).split(options.seed)
    select = [p.text for p in prompts.select.prompts]
    spectra = eigengap(model, select)
    compared = every_arm(model, pairs.fit, spectra, options.seed, options.random)
    matched = [matched_dose(model, a, options.kl, select[:CALIBRATION]) for a in compared]
    cells = [a.cell(dose) for a, (dose, _) in zip(compared, matched, strict=True)]
    texts = [(p.positive, p.negative) for p in pairs.test.pairs]
    margins = preferences(model, texts, [Cell(), *cells]).double().numpy()
    judge = choose_judge(contrasts, prompts.test.prompts)
    room = [p for p in prompts.test.prompts if judge.applies(p, 1)][: options.prompts]
    sampler = Sample(0.7, options.seed)
    flips = judged(model, judge, room, [Cell(), *cells], n_new=48, sampler=sampler)
    for name, words, values, groups in (
        (
            "preference",
            "shift of the log-odds of held-out pairs (nats)",
            margins,
            pairs.test.groups,
        ),
        (
            judge.effect.metric,
            f"share of {judge.effect.words}",
            flips,
            distinct_prompts([p.text for p in room]),
        ),
    ):
        report(compared, matched, (values, groups), (name, words), options)


def every_arm(
    model: LensModel, fit: ContrastSet, spectra: HeadSpectra, seed: int, n_random: list[int]
) -> list[Arm]:
    """Arms over all layers and over all heads, each with random directions beside it."""
    shape, found = model.shape, []
    layers = [Site("resid_post", i) for i in range(shape.n_layers)]
    heads = [Site("z", i, h) for i in range(shape.n_layers) for h in range(shape.n_heads)]
    shared = shape.n_heads // shape.n_key_value_heads
    for sites, group, count in ((layers, 1, n_random[0]), (heads, shared, n_random[1])):
        contrasts = list(extract(model, fit, sites).values())
        directions = [find_direction("mean_diff", c) for c in contrasts]
        made = arms(directions, spectra, group=group, seed=seed, n_random=count)
        randoms = [
            find_direction("random", c, seed=1000 * seed + i) for i, c in enumerate(contrasts)
        ]
        shares = tuple((d, Constant(1.0)) for d in randoms)
        name = f"random directions, {made[0].name}"
        found += [*made, Arm(name, shares, made[0].name, null=True)]
    return found


def report(
    compared: list[Arm],
    matched: list[tuple[float, float]],
    measured: tuple[np.ndarray, list[int]],
    outcome: tuple[str, str],
    options: argparse.Namespace,
) -> None:
    """Print, store and draw one outcome; the first row of the values is the plain model."""
    (name, words), (values, groups) = outcome, measured
    table = compare_arms(compared, values[1:], plain=values[0], groups=groups)
    table.insert(3, "dose_natural", [dose for dose, _ in matched])
    table.insert(4, "kl_nats", [kl for _, kl in matched])
    out = ROOT / "data/runs/gates"
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / f"{name}.csv", index=False)
    print(f"\n{words}:")
    print(table.drop(columns="reference").round(3).to_string(index=False))
    print(gates_in_words(table, kl=options.kl, outcome=words))
    figure = figures.gate_comparison(table, outcome=words, kl=options.kl)
    save(f"gates-{name}", figure, options.format)


if __name__ == "__main__":
    main()
