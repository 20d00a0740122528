from __future__ import annotations

import pytest
import torch

from steerscope.diagnostics.gradients import preference_gradients
from steerscope.doses import Dose
from steerscope.engine.score import kl_from_plain, log_likelihoods, preference, preferences
from steerscope.metrics import kl_divergence
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.scopes import Scope
from tests.helpers import PASS, assert_rounded, random_direction, rounding

PROMPTS = [[1, 5, 9], [1, 7, 20, 33, 41], [1, 8, 30], [1, 50, 51, 52, 53]]


def cells_of(model):
    return [
        Cell(),
        Cell((Steering(random_direction(model, Site("resid_post", 0)), Dose(2.0)),)),
        Cell(
            (Steering(random_direction(model, Site("mlp_out", 1)), Dose(2.0), scope=Scope.last(1)),)
        ),
        Cell(
            (
                Steering(random_direction(model, Site("k", 1)), Dose(3.0)),
                Steering(random_direction(model, Site("resid_pre", 2)), Dose(2.0)),
            )
        ),
        Cell(
            (
                Steering(
                    random_direction(model, Site("resid_pre", 0)),
                    Dose(9.0),
                    scope=Scope.generated(),
                ),
            )
        ),
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_kl_of_a_grid_is_that_of_each_cell_and_prompt_alone(tiny, batch_size):
    cells = cells_of(tiny)
    found = kl_from_plain(tiny, PROMPTS, cells, batch_size=batch_size)
    for c, cell in enumerate(cells):
        for p, prompt in enumerate(PROMPTS):
            tokens = torch.tensor([prompt])
            with torch.no_grad():
                plain = tiny.forward(tokens)
                with steer(tiny, *cell.interventions):
                    steered = tiny.forward(tokens)
            expected = float(kl_divergence(steered, plain)[0, 1:].mean())
            assert float(found[c, p]) == pytest.approx(expected, abs=1e-5, rel=1e-3)
    assert float(found[0].max()) < rounding(96, 1.0)  # a sum over the vocabulary
    assert float(found[1].min()) > 1e-3


def test_likelihoods_are_those_of_transformers(tiny):
    found = log_likelihoods(tiny, PROMPTS)
    for prompt, scores in zip(PROMPTS, found, strict=True):
        with torch.no_grad():
            logp = tiny.forward(torch.tensor([prompt])).log_softmax(-1)[0]
        expected = torch.stack([logp[i, t] for i, t in enumerate(prompt[1:])])
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
    late = log_likelihoods(tiny, PROMPTS, after=[2] * 4)
    for whole, part in zip(found, late, strict=True):
        assert_rounded(part, whole[1:], terms=PASS)


SCOPES = ("all", "prompt", "generated", "last:2", "steps:1", "window:2:4", "all-last:1")


def test_what_comes_after_the_prompt_counts_as_generated(tiny):
    texts = [[1, *range(30, 39), *range(n, n + 6)] for n in (10, 20, 40)] + [[1, 5, 9, 7, 8]]
    after = [12, 10, 13, 2]
    direction = random_direction(tiny, Site("resid_post", 1))
    found = {}
    for scope in SCOPES:
        cell = Cell(Steering(direction, Dose(4.0), scope=scope))
        found[scope] = log_likelihoods(tiny, texts, cell, after=after)
        for ids, n, scores in zip(texts, after, found[scope], strict=True):
            tokens = torch.tensor([ids])
            with torch.no_grad(), steer(tiny, *cell.interventions), tiny.clock.hold(n):
                logp = tiny.forward(tokens).log_softmax(-1)[0]
            expected = torch.stack([logp[i - 1, ids[i]] for i in range(n, len(ids))])
            assert_rounded(scores, expected, terms=PASS)
            with steer(tiny, *cell.interventions):  # from outside it is the same
                [outside] = log_likelihoods(tiny, [ids], after=[n])
            assert_rounded(outside, expected, terms=PASS)
    plain = log_likelihoods(tiny, texts, after=after)
    for scope in SCOPES:
        assert float((torch.cat(found[scope]) - torch.cat(plain)).abs().max()) > 1e-3


def test_what_a_pair_shares_cancels_in_the_preference(tiny):
    pair = ("w5 w6 w7", "w5 w6 w8")
    cell = cells_of(tiny)[1]
    with torch.no_grad(), steer(tiny, *cell.interventions):
        logp = tiny.forward(torch.tensor([[1, 5, 6]])).log_softmax(-1)[0, -1]
    margin = preference(tiny, [pair], cell)
    assert float(margin[0]) == pytest.approx(float(logp[7] - logp[8]), abs=1e-5)
    swapped = preference(tiny, [pair[::-1]], cell)
    assert float(swapped[0]) == pytest.approx(-float(margin[0]), abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_preferences_of_many_conditions_are_those_of_each_alone(tiny, batch_size):
    pairs = [("w5 w6 w7", "w5 w6 w8 w9"), ("w20 w21 w22", "w20 w23 w24")]
    cells = cells_of(tiny)
    found = preferences(tiny, pairs, cells, batch_size=batch_size)
    for row, cell in zip(found, cells, strict=True):
        assert row.tolist() == pytest.approx(preference(tiny, pairs, cell).tolist(), abs=1e-3)


PAIRS = [("w5 w6 w7", "w5 w6 w8 w9"), ("w20 w21 w22", "w20 w23 w24")]


@pytest.mark.parametrize(
    "scope", ["all", "generated", "steps:1", "prompt", "last:1", "all-generated"]
)
def test_a_pair_that_counts_as_written_is_steered_as_it_is_after_what_it_begins_with(tiny, scope):
    direction = random_direction(tiny, Site("resid_post", 0))
    cell = Cell((Steering(direction, Dose(20.0), scope=Scope.parse(scope)),))
    found = preferences(tiny, PAIRS, [Cell(), cell], written=True)
    starts = (3, 3, 2, 2)  # <s> and what the texts of a pair share
    texts = [text for pair in PAIRS for text in pair]
    scores = log_likelihoods(tiny, texts, cell, after=starts)
    sums = torch.tensor([float(score.sum()) for score in scores])
    assert found[1].tolist() == pytest.approx((sums[0::2] - sums[1::2]).tolist(), abs=1e-4)
    assert float((found[1] - found[0]).abs().max()) > 1e-2


@pytest.mark.parametrize("scope", ["all", "generated", "steps:1", "prompt", "last:1"])
def test_the_gradient_of_a_pair_that_counts_as_written_is_what_a_small_dose_does(tiny, scope):
    site, where = Site("resid_post", 0), Scope.parse(scope)
    direction = random_direction(tiny, site)
    gradient = preference_gradients(tiny, PAIRS, [site], scope=where, written=True)[site]
    cells = [Cell((Steering(direction, Dose(d, "absolute"), scope=where),)) for d in (0.05, -0.05)]
    up, down = preferences(tiny, PAIRS, cells, written=True)
    assert (gradient @ direction.unit).tolist() == pytest.approx(
        ((up - down) / 0.1).tolist(), abs=1e-3, rel=0.02
    )
