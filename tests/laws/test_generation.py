"""Cache = no cache, a grid = its cells alone, and the sampler's independence of the batch."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Greedy, Sample
from steerscope.errors import BadValueError, NotFiniteError, PromptTooLongError
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import Constant, ProjectionGate
from tests.helpers import FAMILIES, random_direction
from tests.same_text import assert_same_text, assert_same_texts, hangs_on_rounding

PROMPTS = [[1, 5, 9], [1, 7, 20, 33, 41], [1, 8, 30], [1, 50, 51, 52, 53, 54, 55, 56]]


def cells_of(model):
    """Plain, and conditions that differ in site, dose, operator and scope."""
    n = model.shape.n_layers

    def direction(stream, layer, seed):
        return random_direction(model, Site(stream, layer), seed=seed)

    return [
        Cell(),
        Cell((Steering(direction("resid_post", 0, 1), Dose(2.0)),)),
        Cell((Steering(direction("resid_post", n - 1, 2), Dose(-1.0), scope=Scope.generated()),)),
        Cell((Steering(direction("mlp_out", 1, 3), Dose(3.0), scope=Scope.window(4, 7)),)),
        Cell((Steering(direction("resid_post", 1, 4), Dose(1.0), scope=Scope.last(2)),)),
        Cell((Steering(direction("resid_pre", 1, 5), operator="project_out"),)),
        Cell(
            (
                Steering(direction("resid_post", 0, 6), Dose(1.0), scope=Scope.prompt()),
                Steering(direction("resid_post", 1, 7), Dose(1.0), scope=Scope.everywhere()),
            )
        ),
    ]


def written(result):
    return [[c.tokens for c in row] for row in result]


@pytest.mark.parametrize("sampler", [Greedy(), Sample(1.3, seed=4)])
def test_decoding_with_a_cache_is_decoding_without(tiny, sampler):
    cells = cells_of(tiny)
    cached = generate(tiny, PROMPTS, cells, n_new=7, sampler=sampler)
    uncached = generate(tiny, PROMPTS, cells, n_new=7, sampler=sampler, use_cache=False)
    assert_same_texts(tiny, (PROMPTS, cells), cached, uncached, sampler)
    assert len({str(row) for row in written(cached)}) > len(cells) // 2  # the cells do differ


@pytest.mark.parametrize("family", FAMILIES)
def test_every_cell_of_a_grid_is_that_cell_run_alone(load, family):
    for backbone in ("hooked", "bridge"):
        if backbone == "hooked" and family in {"gemma3", "lfm2"}:
            continue  # TransformerLens cannot convert these from a folder
        model = load(family, backbone)
        cells = cells_of(model)
        together = generate(model, PROMPTS, cells, n_new=6)
        for number, cell in enumerate(cells):
            for place, prompt in enumerate(PROMPTS):
                alone = generate(model, [prompt], [cell], n_new=6, use_cache=False)[0][0]
                assert_same_text(model, (prompt, cell), together[number][place], alone)


@pytest.mark.parametrize("use_cache", [True, False], ids=["with a cache", "without"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_joins_rightly_though_all_shorter_ones_have_ended(load, family, use_cache):
    generator = torch.Generator().manual_seed(1)  # longer than the window of any family
    prompts = [torch.randint(3, 96, (n,), generator=generator).tolist() for n in (4, 20, 33, 50)]
    for backbone in ("hooked", "bridge"):
        if backbone == "hooked" and family in {"gemma3", "lfm2"}:
            continue
        model = load(family, backbone)
        [together] = generate(model, prompts, n_new=3, use_cache=use_cache)
        for prompt, found in zip(prompts, together, strict=True):
            [[alone]] = generate(model, [prompt], n_new=3, use_cache=False)
            assert_same_text(model, (prompt, Cell()), found, alone)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 1000])
def test_the_batch_size_changes_nothing(tiny, batch_size):
    cells, sampler = cells_of(tiny), Sample(1.0)
    reference = generate(tiny, PROMPTS, cells, n_new=5, sampler=sampler)
    found = generate(tiny, PROMPTS, cells, n_new=5, sampler=sampler, batch_size=batch_size)
    assert_same_texts(tiny, (PROMPTS, cells), found, reference, sampler)


def test_rows_stop_at_the_end_token_and_leave_the_others_alone(microworld):
    prompts = ["Mia was at the harbour late.", "Tom left for the garden early. He smiled."]
    long = generate(microworld, prompts, n_new=150)[0]
    assert all(c.ended for c in long)
    assert len({len(c.tokens) for c in long}) == 2
    for prompt, text in zip(prompts, long, strict=True):
        assert not hangs_on_rounding(microworld, (prompt, Cell()), text)
    end = microworld.tokenizer.eos_token_id
    assert all(end not in c.tokens for c in long)
    short = generate(microworld, prompts, n_new=4)[0]
    assert [c.tokens for c in short] == [c.tokens[:4] for c in long]
    assert not any(c.ended for c in short)


def test_sampling_follows_the_softmax():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2, 0.0]])).clamp_min(-1e9).expand(4000, 4)
    drawn = Sample(1.0, seed=1).choose(logits, [f"row {i}" for i in range(4000)])
    counts = Counter(drawn.tolist())
    for token, p in enumerate((0.5, 0.3, 0.2)):
        assert counts[token] == pytest.approx(4000 * p, abs=4 * math.sqrt(4000 * p * (1 - p)))
    assert counts[3] == 0


def test_a_seed_repeats_and_another_differs(tiny):
    once, again = (generate(tiny, PROMPTS, n_new=8, sampler=Sample(1.0, 1)) for _ in range(2))
    other = generate(tiny, PROMPTS, n_new=8, sampler=Sample(1.0, 2))
    assert written(once) == written(again)
    assert written(once) != written(other)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_what_does_nothing_writes_the_plain_text_at_any_temperature(tiny, temperature):
    direction = random_direction(tiny, Site("resid_post", 1), seed=9)
    idle = [
        Cell((Steering(direction, Dose(0.0)),)),
        Cell((Steering(direction, Dose(4.0), strength=Constant(0.0)),)),
        Cell((Steering(direction, Dose(4.0), strength=ProjectionGate(1e9)),)),
    ]
    acting = Cell((Steering(direction, Dose(4.0)),))
    found = generate(
        tiny, PROMPTS, [Cell(), *idle, acting], n_new=12, sampler=Sample(temperature, seed=3)
    )
    plain, *still, moved = written(found)
    assert still == [plain] * len(idle)
    assert moved != plain
    assert len({str(tokens) for tokens in plain}) == len(
        PROMPTS
    )  # prompts differ in what they draw


def test_impossible_requests_are_named(tiny):
    with pytest.raises(PromptTooLongError, match="60 tokens and needs room for 5"):
        generate(tiny, [[1] + [5] * 59], n_new=5)
    with pytest.raises(BadValueError, match="at least 1"):
        generate(tiny, PROMPTS, n_new=0)
    with pytest.raises(BadValueError, match="must be positive"):
        Sample(0.0)


def test_a_nan_in_the_logits_is_named(tiny):
    huge = random_direction(tiny, Site("resid_post", 1), natural=3e38)
    cell = Cell((Steering(huge, Dose(3.0), scope=Scope.everywhere()),))
    with pytest.raises(NotFiniteError, match="lower the dose"):
        generate(tiny, PROMPTS, [cell], n_new=2)
