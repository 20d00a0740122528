from __future__ import annotations

import gc
import weakref

import pytest
import torch

from steerscope.engine import sampling
from steerscope.engine.generation import generate, generation_plan
from steerscope.engine.sampling import Greedy, Sample
from steerscope.engine.score import kl_from_plain
from steerscope.errors import BadValueError, MemoryBudgetError
from steerscope.extraction.activations import extract
from steerscope.models.loading import load_model
from steerscope.models.memory import cache_bytes, parse_bytes, shown, weights_bytes
from steerscope.sites import Site
from steerscope.steering.interventions import Cell
from steerscope.texts.contrasts import ContrastPair, ContrastSet
from tests.same_text import assert_same_texts

PROMPTS = [[1, 5, 9], [1, 7, 20, 33, 41], [1, 8, 30]] * 4
SITE = Site("resid_post", 1)


@pytest.fixture
def limited(load):
    """A tiny model whose memory limit is put back afterwards."""
    model = load("llama", "hooked")
    yield model
    model.memory_limit = None


@pytest.mark.parametrize(
    ("text", "n"), [("8GiB", 8 * 2**30), ("1.5 kb", 1500), ("300", 300), ("2tib", 2 * 2**40)]
)
def test_amounts_of_memory_are_read(text, n):
    assert parse_bytes(text) == n


@pytest.mark.parametrize("text", ["", "much", "8 giants", "-1GiB", "0"])
def test_other_amounts_are_refused(text):
    with pytest.raises(BadValueError, match="cannot read memory"):
        parse_bytes(text)


def test_bytes_are_shown_in_a_readable_unit():
    assert [shown(n) for n in (0, 1536, 3 * 2**20, 2**40)] == ["0 B", "1.5 KiB", "3 MiB", "1 TiB"]


def test_the_bytes_of_the_cache_are_those_that_it_takes(limited):
    cache = limited.new_cache(3, 7)
    taken = sum(t.nbytes for e in cache.entries for t in (e.keys, e.values))
    assert 3 * 7 * cache_bytes(limited) == taken


def test_tied_weights_count_once(limited):
    tensors = list(limited.transformer.parameters())
    assert weights_bytes(limited) >= sum(t.nbytes for t in tensors)
    limited.transformer.again = tensors[0]
    before = weights_bytes(limited)
    del limited.transformer.again
    assert weights_bytes(limited) == before


def test_a_limit_splits_the_batch_and_changes_no_token(limited):
    whole = generate(limited, PROMPTS, [Cell()], n_new=6)
    rows: list[int] = []
    new_cache = limited.new_cache
    plan, _ = generation_plan(limited, 5, 6, sampler=Greedy())
    limited.memory_limit = plan.weights + 2 * (
        generation_plan(limited, 5, 6, 1, Greedy())[0].row * 3
    )
    small, _ = generation_plan(limited, 5, 6, sampler=Greedy())
    assert small.rows < len(PROMPTS) <= plan.rows
    assert small.total <= small.limit

    def counted(n_rows, n_tokens):
        rows.append(n_rows)
        return new_cache(n_rows, n_tokens)

    limited.new_cache = counted
    try:
        split = generate(limited, PROMPTS, [Cell()], n_new=6)
    finally:
        del limited.new_cache
    assert_same_texts(limited, (PROMPTS, [Cell()]), split, whole)
    assert max(rows) <= small.rows


def test_a_finished_generation_holds_no_memory_even_without_garbage_collection(limited):
    caches = []
    new_cache = limited.new_cache

    def watched(n_rows, n_tokens):
        caches.append(weakref.ref(cache := new_cache(n_rows, n_tokens)))
        return cache

    limited.new_cache = watched
    gc.disable()
    try:
        generate(limited, PROMPTS, [Cell()], n_new=3)
    finally:
        gc.enable()
        del limited.new_cache
    assert caches
    assert all(cache() is None for cache in caches)


def test_work_that_does_not_fit_is_refused_with_its_sizes(limited):
    limited.memory_limit = weights_bytes(limited) + 100
    pairs = ContrastSet("words", (ContrastPair("w5 w6", "w7 w8", "c"),))
    for work in (
        lambda: generate(limited, PROMPTS, n_new=3),
        lambda: kl_from_plain(limited, PROMPTS, [Cell()]),
        lambda: extract(limited, pairs, [SITE]),
    ):
        with pytest.raises(MemoryBudgetError, match=r"does not fit into .* of weights.*for each"):
            work()


def test_a_limit_of_the_loader_is_that_of_the_model(tiny_folder):
    assert load_model(tiny_folder("llama"), memory="1GiB").memory_limit == 2**30


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "nonsense"])
def test_a_device_that_is_not_here_is_named(tiny_folder, device):
    if torch.cuda.is_available() and device.startswith("cuda"):
        pytest.skip("this machine has that kind of device")
    with pytest.raises(BadValueError, match="no device .*it has cpu"):
        load_model(tiny_folder("llama"), device=device)


@pytest.mark.parametrize(("dtype", "share"), [("bfloat16", 0.15), ("float16", 0.02)])
def test_half_precision_says_nearly_the_same(tiny_folder, dtype, share):
    full = load_model(tiny_folder("llama"))
    half = load_model(tiny_folder("llama"), dtype=dtype)
    tokens = torch.tensor(PROMPTS[1:2])
    with torch.no_grad():
        a, b = full.forward(tokens), half.forward(tokens).float()
    assert float((a - b).abs().max()) < share * float(a.std())
    assert [len(c.tokens) for c in generate(half, PROMPTS[:2], n_new=4)[0]] == [4, 4]
    assert kl_from_plain(half, PROMPTS[:2], [Cell()]).abs().max() < 1e-5


def test_a_row_is_planned_with_what_choosing_among_its_logits_takes(load):
    model = load("llama")
    rows = [
        generation_plan(model, 5, 6, 1, sampler)[0].row
        for sampler in (
            Greedy(),
            Sample(1.0),
            Sample(1.0, repetition_penalty=1.2),
            Sample(1.0, top_p=0.9),
            None,
        )
    ]
    steps = [b - a for a, b in zip(rows, rows[1:], strict=False)]
    assert steps == [n * model.shape.n_vocab for n in (8, 4, 12, 4)]  # bytes for each logit


def test_rows_that_choose_one_after_the_other_share_what_choosing_takes(load, monkeypatch):
    model = load("llama")
    n_vocab = model.shape.n_vocab
    together, _ = generation_plan(model, 5, 6, 100, Sample(1.0))
    monkeypatch.setattr(sampling, "_IN_CACHE", 3 * n_vocab)
    alone, _ = generation_plan(model, 5, 6, 100, Sample(1.0))
    assert (together.rows, alone.rows) == (100, 100)
    assert together.row - alone.row == 8 * n_vocab  # bytes for each logit
    assert alone.shared - together.shared == 3 * 8 * n_vocab
    drawn = []
    choose = Sample.drawn
    monkeypatch.setattr(
        Sample,
        "drawn",
        lambda s, logits, labels: (drawn.append(len(logits)), choose(s, logits, labels))[1],
    )
    generate(model, PROMPTS, [Cell()] * 5, n_new=2, sampler=Sample(1.0))
    assert max(drawn) == 3
