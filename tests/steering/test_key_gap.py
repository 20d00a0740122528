from __future__ import annotations

import pytest
import torch

from steerscope.doses import Dose
from steerscope.eigengaps import KeyView, eigengap, gram_eigenvalues, spectral_gap
from steerscope.engine.generation import generate
from steerscope.errors import BadValueError, UnsupportedSiteError
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import KeyGapGate, parse_strength
from steerscope.steering.strengths.key_gap import gaps_so_far
from tests.helpers import random_direction
from tests.same_text import assert_same_texts

PROMPTS = [[1, 5, 9, 30, 31], [1, 50, 51, 52, 53], [1, 7, 20, 33, 41], [1, 8, 30, 8, 30]]


def steering(model, gate, layer=1):
    direction = random_direction(model, Site("resid_post", layer))
    return Steering(direction, Dose(25.0, "absolute"), scope=Scope.everywhere(), strength=gate)


def keys_of(model, prompt, layer):
    """[head token d], as attention compares them, from a pass of the model's own code."""
    found = {}
    with torch.no_grad(), model.hook(Site("rot_k", layer), lambda x: found.update(x=x)):
        model.forward(torch.tensor([prompt]))
    heads = model.shape.n_key_value_heads
    return found["x"][0].unflatten(-1, (heads, -1)).transpose(0, 1)


@pytest.mark.parametrize("n_new", [1, 3, 6])
def test_gaps_are_those_of_the_keys_from_position_1_to_each_token(n_new):
    keys = torch.randn(2, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    found = gaps_so_far(keys, n_new)
    for at in range(n_new):
        token = 6 - n_new + at
        if token < 2:
            assert found[:, :, at].isnan().all()
            continue
        expected = spectral_gap(gram_eigenvalues(keys[:, :, 1 : token + 1]))
        torch.testing.assert_close(found[:, :, at], expected.float(), atol=1e-5, rtol=1e-5)


def test_each_prompt_opens_the_gate_for_itself_in_prefill_and_in_decoding(load):
    model = load("llama", "hooked")
    gaps = [
        spectral_gap(gram_eigenvalues(keys_of(model, p, 1)[:, 1:])).amin().item() for p in PROMPTS
    ]
    order = sorted(range(4), key=lambda i: gaps[i])
    threshold = (gaps[order[1]] + gaps[order[2]]) / 2
    gated = steering(model, KeyGapGate(1, threshold))
    tokens, site = torch.tensor(PROMPTS), gated.direction.site
    with torch.no_grad():
        plain, before = model.forward(tokens, last=1), model.read(tokens, [site])[site]
        with steer(model, gated):
            after = model.read(tokens, [site])[site]
    keys = torch.stack([keys_of(model, prompt, 1) for prompt in PROMPTS])
    is_open = gaps_so_far(keys, tokens.shape[1]).amin(dim=1) >= threshold
    assert (
        is_open.any(dim=1).sum() > is_open[:, -1].sum()
    )  # some earlier token is open where the last is not
    torch.testing.assert_close((after - before).abs().amax(dim=-1) > 1e-3, is_open)
    last_alone = Steering(gated.direction, gated.dose, scope=Scope.last(1), strength=gated.strength)
    with torch.no_grad(), steer(model, last_alone):
        steered = model.forward(torch.tensor(PROMPTS), last=1)
    moved = (steered - plain).abs().amax(dim=(1, 2)) > 1e-3
    assert [i for i in range(4) if moved[i]] == sorted(order[2:])
    cells = [Cell(), Cell((gated,)), Cell((steering(model, KeyGapGate(0, threshold), 2),))]
    cached = generate(model, PROMPTS, cells, n_new=6)
    uncached = generate(model, PROMPTS, cells, n_new=6, use_cache=False)
    assert_same_texts(model, (PROMPTS, cells), cached, uncached)
    assert cached[1] != cached[0]


def test_below_is_the_other_side_and_a_lone_token_is_on_neither(load):
    model = load("llama", "hooked")
    tokens = torch.tensor([[1, 5, 9, 30]])
    parts = []
    with torch.no_grad():
        plain = model.read(tokens, [Site("resid_post", 1)])[Site("resid_post", 1)]
        for below in (False, True):
            with steer(model, steering(model, KeyGapGate(1, 0.5, below=below))):
                found = model.read(tokens, [Site("resid_post", 1)])[Site("resid_post", 1)]
            parts.append((found - plain).norm(dim=-1)[0] > 1)
    assert (parts[0] ^ parts[1]).tolist() == [False, False, True, True]


def test_the_key_gap_of_a_table_agrees_with_that_of_the_gate(load):
    model = load("gpt2", "hooked")  # without rotation both read the same keys
    prompt = PROMPTS[0]
    table = eigengap(model, [prompt, prompt], KeyView("uncentred")).gap[1]
    found = {}
    with torch.no_grad(), model.hook(Site("k", 1), lambda x: found.update(x=x)):
        model.forward(torch.tensor([prompt]))
    keys = found["x"].unflatten(-1, (model.shape.n_key_value_heads, -1)).transpose(1, 2)
    torch.testing.assert_close(gaps_so_far(keys, 1)[0, :, 0], table, atol=1e-4, rtol=1e-4)


def test_text_gives_the_gate_and_wrong_uses_are_named(load):
    gate = parse_strength("key_gap:1:0.5:below")
    assert gate == KeyGapGate(1, 0.5, below=True)
    assert parse_strength(str(gate)) == gate
    for text in ("key_gap", "key_gap:1", "key_gap:x:0.5", "key_gap:1:0.5:above"):
        with pytest.raises(BadValueError, match="cannot read strength"):
            parse_strength(text)
    with pytest.raises(BadValueError, match="between 0 and 1"):
        KeyGapGate(1, 1.5)
    with pytest.raises(BadValueError, match="known after the steered resid_post.0"):
        steering(load(), KeyGapGate(1, 0.5), layer=0)
    own = random_direction(load(), Site("k", 1, 0))
    with pytest.raises(BadValueError, match="known after the steered k.1.h0"):
        Steering(own, Dose(1.0), strength=KeyGapGate(1, 0.5))
    bridge = load("llama", "bridge")
    with (
        pytest.raises(UnsupportedSiteError, match="use the hooked backbone"),
        steer(bridge, steering(bridge, KeyGapGate(0, 0.5))),
    ):
        pass


def test_a_head_that_is_not_there_is_named(load):
    model = load("llama", "hooked")
    with pytest.raises(BadValueError, match="key heads 0 to 1"):
        generate(model, PROMPTS, [Cell((steering(model, KeyGapGate(1, 0.5, head=2)),))], n_new=2)
    with pytest.raises(BadValueError, match="counted from 0"):
        KeyGapGate(1, 0.5, head=-1)
    generate(model, PROMPTS, [Cell((steering(model, KeyGapGate(1, 0.5, head=1) * 0.5),))], n_new=2)
