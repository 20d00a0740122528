"""Runs made to commit one mistake each, under the name of the check that finds it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from tests.audits.recipes import (
    SEEDS,
    SHARES,
    Recipe,
    condition,
    control,
    eigengap_rows,
    no_eigengap,
    plain,
    stated,
)
from tests.helpers import row

MISTAKES: dict[str, Callable[[Recipe], None]] = {}


def mistake(spoil: Callable[[Recipe], None]) -> Callable[[Recipe], None]:
    """A function that makes a run commit the mistake that the check of the same name finds."""
    MISTAKES[spoil.__name__] = spoil
    return spoil


@mistake
def stated_where_chosen(recipe):
    recipe.drop(lambda r: r.split == "test")
    for seed in SEEDS:
        recipe.rows += condition(1, 2.0, 0.05, method="random", seed=seed)


@mistake
def shared_prompts(recipe):
    recipe.prompts["test", 0] = recipe.prompts["select", 0]


@mistake
def prompts_in_fit_texts(recipe):
    for i, pair in enumerate(recipe.pairs):  # about half of them are in the fit split
        recipe.prompts["test", i] = pair["positive"].removesuffix(" came").upper()


@mistake
def few_prompts(recipe):
    recipe.drop(lambda r: r.split == "test" and r.prompt >= 12)


@mistake
def underpowered(recipe):
    recipe.flip(stated, 0.25)


@mistake
def class_lengths(recipe):
    for i, pair in enumerate(recipe.pairs):
        pair["positive"] = pair["positive"].replace("now", f"now x{i} y{i}")


@mistake
def template_mismatch(recipe):
    for pair in recipe.pairs:
        pair["positive"] = "<|im_start|> " + pair["positive"]
        pair["negative"] = "<|im_start|> " + pair["negative"]


@mistake
def text_confounds(recipe):
    for i, pair in enumerate(recipe.pairs):
        pair["positive"] = f"now a{i} b{i} c{i} came !"
        pair["negative"] = f"now d{i} e{i} f{i} came ."


@mistake
def repeated_pairs(recipe):
    for i, pair in enumerate(recipe.pairs[:4]):
        pair["positive"], pair["negative"] = f"now n{i} x y came", f"now n{i} v w came"


@mistake
def repeated_prompts(recipe):
    for p in range(12):
        recipe.prompts["test", p] = f"name{p} was here"


@mistake
def no_null(recipe):
    recipe.drop(control("random"))


@mistake
def few_nulls(recipe):
    recipe.drop(lambda r: control("random")(r) and r.seed >= 103)


@mistake
def null_not_beaten(recipe):
    recipe.flip(control("label_shuffled"), 0.9)


@mistake
def inside_null_band(recipe):
    recipe.flip(lambda r: control("random")(r) and r.seed == 100, 0.88)


@mistake
def interval_holds_zero(recipe):
    """Nothing gained over plain, though the controls lose."""
    recipe.flip(plain("test"), 0.5)
    recipe.flip(stated, 0.5)
    recipe.flip(control("random"), 0.0)
    recipe.flip(control("label_shuffled"), 0.0)


@mistake
def wrong_sign(recipe):
    recipe.flip(plain("test"), 1.0)
    recipe.flip(stated, 0.5)
    recipe.flip(control("random"), 0.0)
    recipe.flip(control("label_shuffled"), 0.0)


@mistake
def signs_disagree(recipe):
    recipe.flip(plain("select"), 0.3)


@mistake
def both_signs_alike(recipe):
    recipe.flip(plain("test"), 0.5)
    recipe.flip(lambda r: r.split == "test" and r.dose_natural == -2, 0.0)


@mistake
def damage(recipe):
    recipe.change(lambda r: stated(r) and r.metric == "kept_topic" and r.prompt < 6, value=0.0)


@mistake
def collapsed_texts_counted(recipe):
    recipe.change(lambda r: stated(r) and r.prompt < 6, status="degenerate")


@mistake
def overflow(recipe):
    recipe.change(lambda r: stated(r) and r.prompt < 4, value=math.nan, status="not_finite")


@mistake
def dropped_values(recipe):
    gone = {"value": math.nan, "status": "unread"}
    recipe.change(lambda r: stated(r) and r.metric == "flipped" and r.prompt < 4, **gone)


@mistake
def missing_rows(recipe):
    recipe.drop(lambda r: control("random")(r) and r.seed == 100 and r.prompt >= 20)


@mistake
def uncorrected_choice(recipe):
    recipe.flip(lambda r: r.split == "select", 0.0)
    recipe.flip(lambda r: (r.split, r.layer, r.dose_natural) == ("select", 1, 2.0), 0.10)
    no_eigengap(recipe)


@mistake
def edge_of_grid(recipe):
    recipe.drop(lambda r: abs(r.dose_natural) == 3)


@mistake
def unstable_layer(recipe):
    """Layer 2 flips as many prompts, but others."""

    def second(r):
        return (r.method, r.layer, r.dose_natural, r.metric) == ("mean_diff", 2, 2.0, "flipped")

    recipe.change(second, value=1.0)
    recipe.change(lambda r: second(r) and r.prompt < 2, value=0.0)
    no_eigengap(recipe)


@mistake
def one_prompt_decides(recipe):
    recipe.change(lambda r: stated(r) and r.metric == "flipped" and r.prompt == 3, value=8.0)


@mistake
def missing_conditions(recipe):
    recipe.drop(lambda r: (r.method, r.layer, r.dose_natural) == ("mean_diff", 3, 1.0))


@mistake
def unmatched_doses(recipe):
    recipe.rows = [
        replace(r, dose_relative=r.dose_relative / (1 + r.layer)) if r.layer >= 0 else r
        for r in recipe.rows
    ]


@mistake
def position_zero(recipe):
    recipe.plan = replace(recipe.plan, scope="everywhere")


@mistake
def unpredictive_diagnostic(recipe):
    no_eigengap(recipe)
    recipe.rows += eigengap_rows({layer: 0.4 + share / 2 for layer, share in SHARES.items()})


@mistake
def idle_gate(recipe):
    gated = condition(1, 2.0, 0.9, method="gated")
    recipe.rows += [
        replace(r, cell=r.cell.replace("strength=1", "strength=eigengap:0.01")) for r in gated
    ]


@mistake
def same_vector(recipe):
    twin = recipe.directions[1]
    recipe.directions.append(replace(twin, unit=twin.unit.clone(), method="whitened"))


@mistake
def one_vector_many_layers(recipe):
    recipe.directions = recipe.directions[1:2]


@mistake
def sink_alignment(recipe):
    recipe.rows += [
        row(cell="diagnostic sink resid_post.3", method="sink", layer=3, prompt=-1, metric=metric,
            unit=unit, value=value)
        for metric, unit, value in (
            ("sink_cosine", "ratio", -0.6), ("sink_length", "relative", 9.0),
        )
    ]  # fmt: skip


@mistake
def noisy_difference(recipe):
    recipe.rows += [
        row(cell=f"diagnostic noise resid_post.{layer}", method="noise", layer=layer, prompt=-1,
            metric="noise_share", unit="share", value=0.6, split="select")
        for layer in (1, 2, 3)
    ]  # fmt: skip


@mistake
def status_disagrees(recipe):
    for value in range(2):
        recipe.rows += [
            replace(r, metric="degenerate", value=float(value))
            for r in recipe.rows
            if stated(r) and r.metric == "flipped" and r.prompt == value
        ]
