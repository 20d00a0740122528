"""Threads, tasks, copies and compilers: a model is used by one at a time, and a change is never lost."""

from __future__ import annotations

import asyncio
import copy
import io
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.engine.score import kl_from_plain
from steerscope.errors import ModelBusyError, ModelCopyError, NeverRanError
from steerscope.models.turns import Turn
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from tests.helpers import random_direction

TOKENS = torch.tensor([[1, 10, 20, 30, 40, 50], [1, 60, 61, 62, 63, 64]])
PROMPTS = ["w10 w20 w30", "w60 w61", "w5 w6 w7 w8"]


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def hasty(monkeypatch):
    """No long waiting for a holder that is idle."""
    monkeypatch.setattr(Turn, "patience_s", 0.2)


def steering(model, dose=8.0, layer=1):
    return Steering(random_direction(model, Site("resid_post", layer)), Dose(dose))


def written(model, cells):
    found = generate(model, PROMPTS[:2], cells, n_new=6)
    return [[row.tokens for row in cell] for cell in found]


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_two_threads_on_one_model_get_what_each_gets_alone(tiny, times):
    cells = {"plain": [Cell()], "steered": [Cell((steering(tiny),)), Cell((steering(tiny, -8.0),))]}
    alone = {name: written(tiny, mine) for name, mine in cells.items()}
    assert alone["plain"][0] != alone["steered"][0]

    def under_steer():
        with steer(tiny, steering(tiny)):
            return written(tiny, [Cell()])

    with ThreadPoolExecutor(3) as pool:
        for _ in range(times):
            jobs = {name: pool.submit(written, tiny, mine) for name, mine in cells.items()}
            third = pool.submit(under_steer)
            assert {name: job.result() for name, job in jobs.items()} == alone
            assert third.result()[0] == alone["steered"][0]


def test_passes_of_two_threads_do_not_mix_their_caches(tiny):
    alone = [tiny.forward(TOKENS[i : i + 1]) for i in range(2)]
    divergence = kl_from_plain(tiny, PROMPTS, [Cell((steering(tiny),))])
    with ThreadPoolExecutor(3) as pool:
        for _ in range(4):
            jobs = [pool.submit(tiny.forward, TOKENS[i : i + 1]) for i in range(2)]
            third = pool.submit(kl_from_plain, tiny, PROMPTS, [Cell((steering(tiny),))])
            for job, expected in zip(jobs, alone, strict=True):
                assert torch.equal(job.result(), expected)
            assert torch.equal(third.result(), divergence)


def test_whoever_waits_for_those_who_wait_is_told_so(tiny, hasty):
    with steer(tiny, steering(tiny)), ThreadPoolExecutor(1) as pool:
        job = pool.submit(tiny.forward, TOKENS)
        with pytest.raises(ModelBusyError, match="MainThread is inside `steer`"):
            job.result(timeout=20)
    assert tiny.forward(TOKENS).shape[0] == 2  # free again


def test_a_long_pass_of_another_thread_is_waited_for(hasty):
    turn, order = Turn(), []

    def work():
        with turn.using():
            started.set()
            time.sleep(0.6)  # longer than the patience
            order.append("first")

    started = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    with turn.using():
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_two_tasks_of_one_thread_do_not_share_a_steering(tiny):
    async def hold():
        with steer(tiny, steering(tiny)):
            await asyncio.sleep(0.05)
            return tiny.forward(TOKENS)

    async def intrude():
        await asyncio.sleep(0.01)
        tiny.forward(TOKENS)

    async def both():
        return await asyncio.gather(hold(), intrude(), return_exceptions=True)

    steered, refused = asyncio.run(both())
    assert isinstance(refused, ModelBusyError)
    with steer(tiny, steering(tiny)):
        assert torch.equal(asyncio.run(hold_nothing(tiny)), steered)


async def hold_nothing(model):
    """A task within a block that the thread entered before."""
    return model.forward(TOKENS)


def test_a_block_that_another_thread_closes_gives_the_turn_back(tiny, hasty):
    def suspended():
        with steer(tiny, steering(tiny)):
            yield

    blocks = suspended()
    next(blocks)
    thread = threading.Thread(target=blocks.close)
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        assert torch.equal(pool.submit(tiny.forward, TOKENS).result(), tiny.forward(TOKENS))


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        copy.copy,
        pickle.dumps,
        lambda m: copy.deepcopy(m.transformer),
        lambda m: pickle.dumps(m.transformer),
        lambda m: torch.save(m.transformer, io.BytesIO()),
        lambda m: copy.deepcopy({"my": [m]}),
    ],
)
def test_a_model_is_not_copied_or_pickled_and_says_what_to_do(tiny, copied):
    with pytest.raises(ModelCopyError, match="Load it again with load_model"):
        copied(tiny)


@pytest.mark.slow
def test_a_compiled_model_is_steered_all_the_same(tiny):
    compiled = torch.compile(tiny.transformer, backend="eager")
    plain = compiled(TOKENS)
    with steer(tiny, steering(tiny, 20.0)):
        steered = compiled(TOKENS)
        expected = tiny.transformer(TOKENS)
    plain, steered, expected = (getattr(x, "logits", x) for x in (plain, steered, expected))
    torch.testing.assert_close(steered, expected)
    assert (steered - plain).abs().max() > 1e-2


def test_a_steering_that_no_pass_came_through_is_an_error_at_the_end(load):
    model = load("llama", "hooked")
    block = model.transformer.blocks[1]
    around, block.hook_resid_post.forward = block.hook_resid_post.forward, lambda x: x
    real = type(block).forward
    # As a compiled block does: it gives its output past the hook point.
    object.__setattr__(block, "forward", lambda x, **more: _past_the_hook(block, real, x, more))
    try:
        with steer(model, steering(model)):
            pass  # nothing ran at all
        passed_by = pytest.raises(NeverRanError, match="came through the hook at resid_post.1")
        with passed_by, steer(model, steering(model)):
            model.forward(TOKENS)
        with steer(model, steering(model)):
            model.run_to(TOKENS, 0)  # stops before that block
        with pytest.raises(RuntimeError, match="on purpose"):
            _fail_under(model)  # and an error of the block is not replaced by ours
    finally:
        object.__delattr__(block, "forward")
        block.hook_resid_post.forward = around
    with steer(model, steering(model)):
        model.forward(TOKENS)


SCOPES = ["all", "prompt", "last:2", "generated", "steps:1", "window:2:4", "from_token:20"]


def at(model, scope):
    direction = random_direction(model, Site("resid_post", 1))
    return Steering(direction, Dose(8.0), scope=scope)


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
@pytest.mark.parametrize("scope", SCOPES)
def test_a_text_given_to_transformer_lens_is_steered_as_its_tokens(load, backbone, scope):
    model = load("llama", backbone)
    text, ways = "w10 w20 w30 w40", model.transformer
    tokens = ways.to_tokens(text)
    with steer(model, at(model, scope)):
        expected = ways(tokens)
        assert torch.equal(ways(text), expected)
        assert torch.equal(ways([text]), expected)
        cached = ways.run_with_cache(tokens)[0]  # which computes in another order
        assert torch.equal(ways.run_with_cache(text)[0], cached)
        if backbone == "hooked":
            assert torch.equal(ways(tokens[0]), expected)
    assert torch.equal(expected, ways(tokens)) == (scope in {"generated", "steps:1"})


@pytest.mark.hooked
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("scope", [s for s in SCOPES if s != "from_token:20"])
def test_texts_of_different_lengths_are_steered_as_each_alone(load, side, scope):
    model = load("llama", "hooked")
    texts = ["w10 w20 w30 w40", "w20", "w50 w51 w52"]
    with steer(model, at(model, scope)):
        together = model.transformer(texts, padding_side=side)
        for row, text in zip(together, texts, strict=True):
            alone = model.transformer(text)[0]
            mine = row[: len(alone)] if side == "right" else row[-len(alone) :]
            torch.testing.assert_close(mine, alone, atol=1e-4, rtol=1e-4)


def _fail_under(model):
    with steer(model, steering(model)):
        model.forward(TOKENS)
        raise RuntimeError("on purpose")


def _past_the_hook(block, real, x, more):
    point = block.hook_resid_post
    hooks, point._forward_hooks = point._forward_hooks, type(point._forward_hooks)()
    try:
        return real(block, x, **more)
    finally:
        point._forward_hooks = hooks
