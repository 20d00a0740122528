"""Scopes that begin at a token: the same in one pass, cached, batched, scored, on either backbone."""

from __future__ import annotations

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Sample
from steerscope.engine.score import kl_by_position, log_likelihoods
from steerscope.errors import BadValueError
from steerscope.models.caches import Recompute
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.scopes import Scope
from tests.helpers import random_direction, rounding
from tests.same_text import assert_same_text, assert_same_texts, greedy_by_hand, hangs_on_rounding

PROMPTS = [[1, 5, 9], [1, 7, 20, 33, 41], [1, 8, 30], [1, 50, 51, 20, 33, 54, 55, 56]]
SITE = Site("resid_post", 1)
N_NEW = 6
NO_KL = rounding(96, 1.0)  # nats: a sum over the vocabulary, of one distribution rounded twice
LATE = 3  # tokens after the prompt at which a scope is to begin


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def pushed(model, scope, *, dose=20.0, site=SITE, seed=0):
    return Steering(random_direction(model, site, seed=seed), Dose(dose), scope=scope)


def written(result):
    return [[c.tokens for c in row] for row in result]


def first_place(ids, wanted):
    """Position of the last token of the first occurrence, by plain search; None without one."""
    for start in range(len(ids) - len(wanted) + 1):
        if list(ids[start : start + len(wanted)]) == list(wanted):
            return start + len(wanted) - 1
    return None


def written_alone(model, prompt, wanted, *, after=False):
    """Greedy decoding from nothing at every step, steered by a window found by plain search."""

    def step(ids):
        place = first_place(ids, wanted)
        if place is None:
            return model.forward(torch.tensor([ids]))
        with steer(model, pushed(model, Scope.window(place + after))):
            return model.forward(torch.tensor([ids]))

    return greedy_by_hand(model, prompt, step, N_NEW)


def token_written_late(model, number=0):
    """A token that first occurs late in the plain continuation of a prompt, and its place there."""
    [[text]] = generate(model, [PROMPTS[number]], n_new=N_NEW)
    assert not hangs_on_rounding(model, (PROMPTS[number], Cell()), text)
    plain = text.tokens
    for place, token in enumerate(plain):
        if place >= LATE - 1 and token not in [*PROMPTS[number], *plain[:place]]:
            return token, place
    raise AssertionError(f"no new token in {plain}")


def cells_of(model):
    """Scopes that begin in some prompts, in some continuations, or nowhere."""
    token, _ = token_written_late(model)
    scopes = [
        Scope.from_token(20, 33),
        Scope.after_token(token),
        Scope.all() - Scope.from_token(33),
        Scope.from_token(95, 94, 93),
        Scope.generated() & Scope.from_token(token) | Scope.last(1),
    ]
    sites = [SITE, Site("resid_post", 0), Site("mlp_out", 2), SITE, Site("z", 1, 2)]
    cells = [
        Cell((pushed(model, scope, site=site, seed=seed),))
        for seed, (scope, site) in enumerate(zip(scopes, sites, strict=True))
    ]
    return [Cell(), *cells]


def test_activations_move_from_the_token_on_in_each_row(tiny):
    tokens = torch.tensor([[1, 5, 20, 33, 9, 9], [1, 20, 33, 33, 20, 33], [1, 33, 20, 9, 9, 9]])
    before = tiny.read(tokens, [SITE])[SITE].clone()
    steering = pushed(tiny, Scope.from_token(20, 33))
    expected = torch.zeros_like(before)
    for row, place in enumerate((3, 2, 6)):
        expected[row, place:] = steering.dose.absolute(steering.direction.scale) * (
            steering.direction.unit
        )
    with steer(tiny, steering):
        found = {}
        with tiny.hook(SITE, lambda x: found.update(x=x.clone())):
            tiny.forward(tokens)
        read = tiny.read(tokens, [SITE])[SITE]
    torch.testing.assert_close(found["x"] - before, expected, atol=2e-5, rtol=0)
    assert read.shape == before.shape


def test_a_users_own_forward_of_the_transformer_knows_its_tokens(tiny):
    tokens = torch.tensor([[1, 5, 20, 33, 9, 9]])
    with steer(tiny, pushed(tiny, Scope.from_token(20, 33))):
        found = tiny.transformer(tokens)
    with steer(tiny, pushed(tiny, Scope.window(3))):
        expected = tiny.transformer(tokens)
    assert torch.equal(found, expected)
    assert not torch.equal(found, tiny.transformer(tokens))


def test_what_is_generated_is_what_a_search_at_every_step_gives(tiny):
    token, place = token_written_late(tiny)
    cells = [
        Cell((pushed(tiny, Scope.from_token(token)),)),
        Cell((pushed(tiny, Scope.after_token(20, 33)),)),
    ]
    found = generate(tiny, PROMPTS, [Cell(), *cells], n_new=N_NEW)
    for number, prompt in enumerate(PROMPTS):
        alone = written_alone(tiny, prompt, [token])
        assert_same_text(tiny, (prompt, cells[0]), found[1][number], alone)
        alone = written_alone(tiny, prompt, [20, 33], after=True)
        assert_same_text(tiny, (prompt, cells[1]), found[2][number], alone)
    assert found[1][0].tokens[: place + 1] == found[0][0].tokens[: place + 1]
    assert all(written(found)[0] != row for row in written(found)[1:])


def test_a_token_that_the_model_writes_turns_what_follows(tiny):
    token, place = token_written_late(tiny)
    turned = [
        generate(
            tiny, PROMPTS[:1], [Cell((pushed(tiny, Scope.from_token(token), seed=s),))], n_new=N_NEW
        )[0][0].tokens
        for s in range(4)
    ]
    plain = generate(tiny, PROMPTS[:1], n_new=N_NEW)[0][0].tokens
    assert any(t[place + 1 :] != plain[place + 1 :] for t in turned)


def test_cached_is_uncached_and_a_batch_is_each_alone(tiny):
    cells, sampler = cells_of(tiny), Sample(1.3, seed=4)
    cached = generate(tiny, PROMPTS, cells, n_new=N_NEW, sampler=sampler)
    again = generate(tiny, PROMPTS, cells, n_new=N_NEW, sampler=sampler, use_cache=False)
    few = generate(tiny, PROMPTS, cells, n_new=N_NEW, sampler=sampler, batch_size=3)
    for other in (again, few):
        assert_same_texts(tiny, (PROMPTS, cells), other, cached, sampler)
    for number, cell in enumerate(cells):
        place = number % len(PROMPTS)
        [[alone]] = generate(tiny, [PROMPTS[place]], [cell], n_new=N_NEW, sampler=sampler)
        assert_same_text(tiny, (PROMPTS[place], cell), cached[number][place], alone, sampler)
    assert len({str(row) for row in written(cached)}) >= 4  # they do differ


def test_the_bridge_writes_what_hooked_writes(load):
    hooked, bridge = load("llama", "hooked"), load("llama", "bridge")
    ours, theirs = (generate(m, PROMPTS, cells_of(m), n_new=N_NEW) for m in (hooked, bridge))
    assert_same_texts(hooked, (PROMPTS, cells_of(hooked)), ours, theirs)


@pytest.mark.parametrize(("family", "backbone"), [("gpt2", "hooked"), ("lfm2", "bridge")])
def test_other_architectures_find_the_token_too(load, family, backbone):
    model = load(family, backbone)
    token, _ = token_written_late(model)
    for wanted in ([token], [20, 33]):
        cells = [Cell((pushed(model, Scope.from_token(*wanted)),))]
        [found] = generate(model, PROMPTS, cells, n_new=N_NEW)
        for number, prompt in enumerate(PROMPTS):
            alone = written_alone(model, prompt, wanted)
            assert_same_text(model, (prompt, cells[0]), found[number], alone)


def test_rows_that_end_early_leave_the_scopes_of_the_others_alone(microworld):
    prompts = ["Mia was at the harbour late.", "Tom left for the garden early. He smiled."]
    full_stop = microworld.tokens(".", bos=False)
    direction = random_direction(microworld, Site("resid_post", 4), natural=400.0)
    cells = [Cell((Steering(direction, Dose(1.0), scope=Scope.from_token(*full_stop)),)), Cell()]
    together = generate(microworld, prompts, cells, n_new=43)
    for cell, row in zip(cells, together, strict=True):
        for prompt, text in zip(prompts, row, strict=True):
            assert not hangs_on_rounding(microworld, (prompt, cell), text)
    assert [c.ended for row in together for c in row] == [False, False, False, True]
    for place, prompt in enumerate(prompts):
        [[alone]] = generate(microworld, [prompt], cells[:1], n_new=43)
        assert_same_text(microworld, (prompt, cells[0]), together[0][place], alone)


def test_an_outer_steering_holds_for_what_is_generated(tiny):
    token, _ = token_written_late(tiny)
    steering = pushed(tiny, Scope.after_token(token))
    cells = [Cell((steering,))]
    inner = generate(tiny, PROMPTS, cells, n_new=N_NEW)
    with steer(tiny, steering):
        outer = generate(tiny, PROMPTS, n_new=N_NEW)
    assert_same_texts(tiny, (PROMPTS, cells), outer, inner)


def test_scores_are_those_of_the_window_that_the_token_opens(tiny):
    ids = [[1, 5, 20, 33, 9, 9], [1, 20, 33, 33, 20, 33], [1, 33, 20, 9, 9, 9]]
    token = Cell((pushed(tiny, Scope.from_token(20, 33)),))
    others = [Cell((pushed(tiny, Scope.all(), seed=7),)), token]
    found = kl_by_position(tiny, ids, others)
    for text, place, kl in zip(ids, (3, 2, None), found, strict=True):
        if place is None:
            assert float(kl[1].abs().max()) < NO_KL
            continue
        window = Cell((pushed(tiny, Scope.window(place)),))
        [expected] = kl_by_position(tiny, [text], [window])
        torch.testing.assert_close(kl[1:], expected, atol=1e-5, rtol=1e-4)
        [score] = log_likelihoods(tiny, [text], token)
        torch.testing.assert_close(score, log_likelihoods(tiny, [text], window)[0])
        assert float(kl[1, : place - 1].abs().max() if place > 1 else 0) < NO_KL
        assert float(kl[1].max()) > 1e-3


def test_a_pass_that_does_not_show_what_came_before_is_refused(tiny):
    steering = pushed(tiny, Scope.from_token(20))
    first, more = torch.tensor([[1, 5, 20]]), torch.tensor([[9]])
    with steer(tiny, steering):
        cache = tiny.new_cache(1, 8)
        tiny.forward(first, cache=cache)
        with pytest.raises(BadValueError, match="does not show those before it; decode with"):
            tiny.forward(more, cache=cache)
        again = Recompute()
        tiny.forward(first, cache=again)
        tiny.forward(more, cache=again)  # runs the whole text, so that it knows
        with pytest.raises(BadValueError, match="needs all tokens of the text"):
            tiny.transformer.generate(first, max_new_tokens=3, verbose=False, do_sample=False)
    assert tiny.forward(first).shape[1] == 3
