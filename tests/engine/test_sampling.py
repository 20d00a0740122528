"""What may be drawn: the sets of transformers, the probabilities of what is left, seeds by sample."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from steerscope.engine.generation import generate
from steerscope.engine.sampling import Greedy, Sample, penalised
from steerscope.errors import BadValueError

LOGITS = 3 * torch.randn(64, 50, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(0, 50, (64, 9), generator=torch.Generator().manual_seed(1))


def of_transformers(sampler, logits):
    """The scores that transformers draws from, its warpers in its order."""
    chain = [TemperatureLogitsWarper(sampler.temperature)]
    chain += [TopKLogitsWarper(sampler.top_k)] if sampler.top_k else []
    chain += [TopPLogitsWarper(sampler.top_p)] if sampler.top_p < 1 else []
    chain += [MinPLogitsWarper(sampler.min_p)] if sampler.min_p else []
    for step in chain:
        logits = step(IDS, logits)
    return logits


@pytest.mark.parametrize(
    "choices",
    [
        {"top_k": 1}, {"top_k": 7}, {"top_k": 500}, {"top_p": 0.9}, {"top_p": 0.3}, {"top_p": 1e-6},
        {"min_p": 0.05}, {"min_p": 1.0}, {"top_k": 12, "top_p": 0.8}, {"top_p": 0.95, "min_p": 0.1},
        {"top_k": 20, "top_p": 0.9, "min_p": 0.02},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("temperature", [0.6, 1.4])
def test_the_tokens_that_may_be_drawn_are_those_of_transformers(choices, temperature):
    sampler = Sample(temperature, **choices)
    expected = of_transformers(sampler, LOGITS)
    torch.testing.assert_close(sampler.narrowed(LOGITS), expected)
    assert (torch.isfinite(expected).sum(dim=1) > 0).all()
    if min(choices.values()) not in (500,):
        assert torch.isinf(expected).any()


def test_a_penalty_of_repetition_is_that_of_transformers():
    expected = RepetitionPenaltyLogitsProcessor(1.3)(IDS, LOGITS)
    torch.testing.assert_close(penalised(LOGITS, IDS.tolist(), 1.3), expected)
    assert (expected != LOGITS).any()


@pytest.mark.parametrize(
    "numbers", [{"temperature": 1e-30}, {"repetition_penalty": 1e-30}], ids=str
)
@pytest.mark.parametrize("top", [3.0, -3.0, 1e38, -1e38])
def test_numbers_that_carry_logits_beyond_the_format_leave_probabilities(numbers, top):
    logits = LOGITS.clamp(-2, 2)
    logits[:, 7] = top if top > 0 else 0.0
    logits += min(top, 0.0)
    sampler = Sample(top_p=0.9, min_p=0.1, **numbers)
    scores = penalised(logits, [[7]] * 64, sampler.repetition_penalty)
    shares = sampler.narrowed(scores).softmax(dim=-1)
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(64))
    if top in (3.0, 1e38):
        assert sampler.choose(scores, [f"k{i}" for i in range(64)]).tolist() == [7] * 64


def test_a_row_of_no_probabilities_gets_no_token_and_the_others_theirs():
    logits = LOGITS[:3].clone()
    logits[1] = float("nan")
    found = Sample(seed=1).choose(logits, ["a", "b", "c"])
    assert found.tolist() == [
        int(Sample(seed=1).choose(LOGITS[:1], ["a"])), -1,
        int(Sample(seed=1).choose(LOGITS[2:3], ["c"])),
    ]  # fmt: skip


def test_draws_have_the_probabilities_of_what_is_left():
    logits = torch.tensor([[2.0, 1.0, 0.5, -1.0, -4.0]])
    sampler = Sample(top_k=3, seed=5)
    expected = torch.softmax(logits[0, :3].double(), dim=-1)
    n = 4000
    drawn = Counter(int(sampler.choose(logits, [f"x|{i}"])) for i in range(n))
    assert set(drawn) == {0, 1, 2}
    for token, p in enumerate(expected.tolist()):
        assert drawn[token] / n == pytest.approx(p, abs=4 * (p * (1 - p) / n) ** 0.5)


def test_the_likeliest_number_below_one_draws_a_token_that_may_be_drawn(monkeypatch):
    monkeypatch.setattr("steerscope.engine.sampling._uniform", lambda _: 1.0)
    assert int(Sample(top_k=2).choose(torch.tensor([[1.0, 2.0, 0.0, -3.0]]), ["k"])) == 1


@pytest.mark.parametrize("n_vocab", [3, 256, 257, 1000])
def test_a_draw_is_where_the_cumulative_sum_passes_the_uniform_number(n_vocab, monkeypatch):
    logits = 2 * torch.randn(40, n_vocab, generator=torch.Generator().manual_seed(n_vocab))
    numbers = torch.rand(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    given = dict(zip(map(str, range(40)), numbers.tolist(), strict=True))
    monkeypatch.setattr("steerscope.engine.sampling._uniform", lambda key: given[key[2:]])
    cumulative = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    expected = torch.searchsorted(cumulative, numbers[:, None], right=True).squeeze(-1)
    drawn = Sample(seed=0).choose(logits, list(given))
    near = (cumulative - numbers[:, None]).abs().amin(dim=-1) < 1e-6
    assert torch.equal(drawn[~near], expected[~near])
    assert int((~near).sum()) > 30


def test_samples_of_a_prompt_differ_and_each_is_the_same_alone_and_in_any_batch(load):
    model, sampler = load("llama"), Sample(1.5, seed=2, top_p=0.95, repetition_penalty=1.2)
    prompts = [[1, 5, 9], [1, 7, 20, 33]]
    [found] = generate(model, prompts, n_new=6, sampler=sampler, samples=3)
    assert len(found) == 6
    assert len({c.tokens for c in found[:3]}) == 3
    [once] = generate(model, prompts, n_new=6, sampler=sampler)
    assert [c.tokens for c in once] == [found[0].tokens, found[3].tokens]
    [few] = generate(model, prompts[1:], n_new=6, sampler=sampler, samples=2, use_cache=False)
    assert [c.tokens for c in few] == [c.tokens for c in found[3:5]]


@pytest.mark.parametrize(
    "choices",
    [
        {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -0.1}, {"min_p": 1.5},
        {"repetition_penalty": 0.0}, {"repetition_penalty": float("nan")},
        {"repetition_penalty": 1e-40}, {"temperature": 1e-40}, {"temperature": 1e39},
    ],
    ids=str,
)  # fmt: skip
def test_a_number_outside_its_range_is_refused_by_name(choices):
    with pytest.raises(BadValueError, match=next(iter(choices))):
        Sample(**choices)


def test_several_samples_of_the_likeliest_text_are_refused(load):
    with pytest.raises(BadValueError, match="all the same"):
        generate(load("llama"), [[1, 5]], n_new=1, samples=2, sampler=Greedy())
    with pytest.raises(BadValueError, match="at least 1"):
        generate(load("llama"), [[1, 5]], n_new=1, samples=0)
