"""Transfer: which part of the pairs chooses the layer, and what each number of the table is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from steerscope.directions import mean_diff
from steerscope.doses import Dose
from steerscope.engine.generation import attempt
from steerscope.engine.score import kl_from_plain, preferences
from steerscope.extraction.activations import extract
from steerscope.judges import choose_judge
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.studies.transfer.matching import matched_coefficients, steering_by_validation
from steerscope.studies.transfer.measure import transfer
from steerscope.studies.transfer.plan import TransferPlan
from steerscope.studies.transfer.techniques import Technique, steering_technique
from steerscope.texts.contrasts import (
    ContrastPair,
    ContrastSet,
    load_contrasts,
    load_prompts,
)
from tests.helpers import random_direction
from tests.studies.test_techniques import PROMPTS

PAIRS = ContrastSet(
    "made up",
    tuple(ContrastPair(f"w{i} w10 w{i + 3} w5", f"w{i} w20 w4", "w") for i in range(30, 54)),
)


def texts_of(part):
    return [(p.positive, p.negative) for p in part.pairs]


def turned(part):
    """The same set with the classes of one part of its split exchanged."""
    mine = set(getattr(PAIRS.split(0), part).pairs)
    return replace(
        PAIRS,
        pairs=tuple(
            replace(p, positive=p.negative, negative=p.positive) if p in mine else p
            for p in PAIRS.pairs
        ),
    )


def test_the_layer_of_steering_is_where_the_select_pairs_move_most_from_minus_to_plus(load):
    model, parts = load(), PAIRS.split(0)
    plan = TransferPlan(kl=0.02, n_pairs=6, n_kl_prompts=2)
    asked = [p.text for p in PROMPTS.split(0).select.prompts[:2]]
    gains = []
    for layer in range(model.shape.n_layers):
        technique = steering_technique(model, parts.fit, "mean_diff", layer)
        ends = matched_coefficients(model, technique, asked, plan.kl)
        cells = [technique.cell(c) for c in ends]
        low, high = preferences(model, texts_of(parts.select), cells).mean(dim=1)
        gains.append(float(high - low))
    best = gains.index(max(gains))
    found = steering_by_validation(model, PAIRS, PROMPTS, "mean_diff", plan)
    assert found.where == f"resid_post.{best}"
    [steering] = found.cell(1.0).interventions
    site = Site("resid_post", best)
    expected = mean_diff(extract(model, parts.fit, site)[site])
    torch.testing.assert_close(steering.direction.unit, expected.unit, atol=1e-5, rtol=0)

    def chosen(pairs):
        return steering_by_validation(model, pairs, PROMPTS, "mean_diff", plan).where

    assert chosen(turned("test")) == f"resid_post.{best}"
    assert chosen(turned("select")) == f"resid_post.{gains.index(min(gains))}"


@pytest.mark.parametrize("side", [1, 0])
def test_the_target_is_the_side_of_the_text_whatever_the_side_of_its_prompt(
    microworld, monkeypatch, side
):
    contrasts, prompts = load_contrasts("mood"), load_prompts("mood")
    story = contrasts.pairs[0].positive if side else contrasts.pairs[0].negative

    def told(*args, **options):
        return [[replace(text, text=story) for text in row] for row in attempt(*args, **options)]

    monkeypatch.setattr("steerscope.studies.transfer.measure.attempt", told)
    plan = TransferPlan(coefficients=(-1.0, 1.0), n_prompts=6, n_pairs=2, n_kl_prompts=2, n_new=4)
    rows = transfer(microworld, [], contrasts, prompts, plan=plan)
    asked = prompts.split(plan.seed).test.prompts[:6]
    judge = choose_judge(contrasts, asked)
    assert {judge.applies(prompt, 1) for prompt in asked} == {True, False}
    assert rows[rows.metric == "target"].value.tolist() == [float(side)] * 6


def nats(model, before, after):
    """The mean nats per token of some tokens after others, from the logits."""
    ids = torch.tensor([[*before, *after]])
    with torch.no_grad():
        logp = torch.log_softmax(model.forward(ids)[0, len(before) - 1 : -1].double(), dim=-1)
    return -float(logp.gather(1, ids[0, len(before) :, None]).mean())


def test_every_number_of_the_table_is_that_of_its_text_and_of_its_condition(load, monkeypatch):
    model, written = load(), []

    def noted(*args, **options):
        found = attempt(*args, **options)
        written.extend(found)
        return found

    monkeypatch.setattr("steerscope.studies.transfer.measure.attempt", noted)
    direction = random_direction(model, Site("resid_post", 1))
    along = Technique(
        "along", 0, lambda c: Cell((Steering(direction, Dose(c, "relative")),) if c else ())
    )
    plan = TransferPlan(
        coefficients=(-0.5, 0.5), kl=0.02, n_prompts=3, n_pairs=3, n_kl_prompts=2, n_new=5
    )
    rows = transfer(model, [along], PAIRS, PROMPTS, plan=plan)
    parts, pairs = PROMPTS.split(0), texts_of(PAIRS.split(0).test)[:3]
    ends = matched_coefficients(model, along, [p.text for p in parts.select.prompts[:2]], plan.kl)
    conditions = [(0.0, False), (-0.5, False), (0.5, False), *((c, True) for c in ends)]
    asked = [p.text for p in parts.test.prompts[:3]]
    assert len(written) == len(conditions)
    for (c, matched), texts in zip(conditions, written, strict=True):
        mine = rows[(rows.coefficient == c) & (rows.matched == matched)].sort_values("item")
        found = {metric: part.value.tolist() for metric, part in mine.groupby("metric")}
        kl = kl_from_plain(model, asked, [along.cell(c)])[0].tolist()
        assert found["kl"] == pytest.approx(kl, rel=1e-3, abs=1e-5)
        plain = [nats(model, model.tokens(p), t.tokens) for p, t in zip(asked, texts, strict=True)]
        assert found["nll_plain"] == pytest.approx(plain, rel=1e-3)
        with steer(model, *along.cell(c).interventions):
            both = [[nats(model, ids[:1], ids[1:]) for ids in map(model.tokens, p)] for p in pairs]
        assert found["nll"] == pytest.approx([sum(pair) / 2 for pair in both], rel=1e-3)
