"""What conditions share of a prompt is run once, and is what they would have run alone."""

from __future__ import annotations

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.scopes import Scope
from tests.helpers import random_direction
from tests.same_text import assert_same_texts

PROMPTS = [[1, 5, 9, 11], [1, 7, 20, 33], [1, 8, 30]]


def steering(model, stream, layer, dose, scope=None):
    direction = random_direction(model, Site(stream, layer), seed=layer)
    return Steering(direction, Dose(dose), scope=scope or Scope.everywhere())


def blocks_run(model, call):
    """Rows times tokens that each block saw."""
    seen = [0] * model.shape.n_layers

    def count(layer):
        def hook(_module, arguments):
            seen[layer] += arguments[0].shape[0] * arguments[0].shape[1]

        return hook

    handles = [
        block.register_forward_pre_hook(count(i))
        for i, block in enumerate(model.transformer.blocks)
    ]
    call()
    for handle in handles:
        handle.remove()
    return seen


def test_blocks_below_the_site_run_once_for_all_conditions(load):
    model = load("llama", "hooked")
    cells = [Cell((steering(model, "resid_post", 1, d),)) for d in (1.0, 2.0, 3.0)]
    cells.append(Cell((steering(model, "resid_post", 0, 1.0, Scope.generated()),)))
    seen = blocks_run(model, lambda: generate(model, PROMPTS[:1], cells, n_new=1))
    assert seen == [4, 4, 4 + 3 * 4]


@pytest.mark.parametrize("stream", ["resid_pre", "resid_post", "attn_out", "k"])
def test_a_model_that_is_steered_already_is_steered_once(tiny, stream):
    outer = steering(tiny, stream, 1, 2.0)
    cells = [Cell(), *(Cell((steering(tiny, "resid_post", i, 1.5),)) for i in range(3))]
    with steer(tiny, outer):
        shared = generate(tiny, PROMPTS, cells, n_new=5)
        whole = generate(tiny, PROMPTS, cells, n_new=5, use_cache=False)
        assert_same_texts(tiny, (PROMPTS, cells), shared, whole)


def test_a_plain_pass_resumed_anywhere_ends_in_the_same_logits(load):
    model = load("gpt2", "hooked")
    tokens = torch.tensor(PROMPTS[:2])
    with torch.no_grad():
        plain = model.plain_pass(tokens)
        whole = model.forward(tokens)
        for block in range(model.shape.n_layers + 1):
            again = plain.resume(torch.tensor([1, 0, 1]), block)
            torch.testing.assert_close(again, whole[[1, 0, 1]], atol=1e-5, rtol=1e-5)
