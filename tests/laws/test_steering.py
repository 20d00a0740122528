"""Identity, restoration, dose, locality, idempotence: what steering may and may not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.errors import BadValueError, VectorMismatchError
from steerscope.sites import STREAMS, Site
from steerscope.steering.interventions import Cell, Rows, Steering, steer
from steerscope.steering.scopes import Scope
from tests.helpers import PASS, assert_rounded, count_hooks, origin, random_direction
from tests.same_text import assert_same_text

TOKENS = torch.tensor([[1, 10, 20, 30, 40, 50], [1, 60, 61, 62, 63, 64]])


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def seen_at(model, site, tokens=TOKENS):
    """Activation at a site, and logits, of one pass."""
    found = {}
    with model.hook(site, lambda x: found.update(x=x.clone())):
        logits = model.forward(tokens)
    return found["x"], logits


@pytest.mark.parametrize("stream", STREAMS)
def test_a_zero_dose_and_a_zero_strength_change_nothing(tiny, stream):
    direction = random_direction(tiny, Site(stream, 1))
    plain = tiny.forward(TOKENS)
    for steering in (
        Steering(direction, Dose(0.0)),
        Steering(direction, Dose(3.0), strength=0.0),
        Steering(direction, operator="project_out", strength=0.0),
        Steering(direction, Dose(3.0), scope=Scope.generated()),
    ):
        with steer(tiny, steering):
            assert torch.equal(tiny.forward(TOKENS), plain)


@pytest.mark.parametrize("stream", STREAMS)
def test_every_stream_reaches_the_logits(tiny, stream):
    with steer(tiny, Steering(random_direction(tiny, Site(stream, 1)), Dose(3.0))):
        assert not torch.equal(tiny.forward(TOKENS), tiny.forward(TOKENS[:, :1].expand(2, 6)))
        steered = tiny.forward(TOKENS)
    assert (steered - tiny.forward(TOKENS)).abs().max() > 1e-3


def test_afterwards_the_model_is_as_it_was_bit_for_bit(tiny):
    weights = {k: v.clone() for k, v in tiny.transformer.state_dict().items()}
    plain, hooks = tiny.forward(TOKENS), count_hooks(tiny)
    steering = Steering(random_direction(tiny, Site("resid_post", 1)), Dose(3.0))
    with steer(tiny, steering, steering):
        assert count_hooks(tiny) == hooks + 2
        tiny.forward(TOKENS)
    with pytest.raises(RuntimeError, match="on purpose"), steer(tiny, steering):
        raise RuntimeError("on purpose")

    def steered_forever():
        with steer(tiny, steering):
            while True:
                yield tiny.forward(TOKENS)

    endless = steered_forever()
    next(endless)
    endless.close()
    assert count_hooks(tiny) == hooks
    assert torch.equal(tiny.forward(TOKENS), plain)
    after = tiny.transformer.state_dict()
    assert weights.keys() == after.keys()
    assert all(torch.equal(weights[k], after[k]) for k in weights)


def test_a_failing_intervention_leaves_no_hook_of_the_others(tiny):
    hooks = count_hooks(tiny)
    good = Steering(random_direction(tiny, Site("resid_post", 1)), Dose(1.0))
    bad = Steering(
        random_direction(tiny, Site("resid_post", 1)).__class__(
            Site("resid_post", 1),
            torch.ones(1),
            good.direction.scale,
            "random",
            origin(tiny),
        ),
        Dose(1.0),
    )
    with pytest.raises(VectorMismatchError), steer(tiny, good, bad):
        pass
    assert count_hooks(tiny) == hooks


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(
    ("scope", "inside"),
    [
        (Scope.all(), [1, 2, 3, 4, 5]),
        (Scope.everywhere(), [0, 1, 2, 3, 4, 5]),
        (Scope.window(2, 4), [2, 3]),
        (Scope.last(1), [5]),
    ],
)
def test_activations_move_by_the_dose_along_the_unit_at_the_positions_in_scope(
    tiny, stream, scope, inside
):
    site = Site(stream, 1)
    direction = random_direction(tiny, site, natural=2.0)
    before, _ = seen_at(tiny, site)
    with steer(tiny, Steering(direction, Dose(-1.5), scope=scope)):
        after, _ = seen_at(tiny, site)
    expected = torch.zeros_like(before)
    expected[:, inside] = -3.0 * direction.unit
    torch.testing.assert_close(after - before, expected, atol=2e-5, rtol=0)


def test_only_the_given_rows_move(tiny):
    site = Site("resid_post", 1)
    steering = Steering(random_direction(tiny, site), Dose(1.0))
    before, plain = seen_at(tiny, site)
    with steering.attach(tiny, Rows(torch.tensor([1]))):
        after, logits = seen_at(tiny, site)
    assert torch.equal(after[0], before[0])
    assert torch.equal(logits[0], plain[0])
    assert not torch.equal(after[1], before[1])


@pytest.mark.parametrize("stream", ["q", "k", "v", "z"])
def test_steering_one_head_leaves_the_others_bit_equal(tiny, stream):
    whole = Site(stream, 1)
    direction = random_direction(tiny, Site(stream, 1, 1))
    before, plain = seen_at(tiny, whole)
    with steer(tiny, Steering(direction, Dose(2.0))):
        after, steered = seen_at(tiny, whole)
    d = tiny.shape.d_head
    heads = before.shape[-1] // d
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        same = torch.equal(before[..., part], after[..., part])
        assert same == (head != 1)
    assert not torch.equal(plain, steered)


def test_projecting_out_leaves_no_component_and_twice_is_once(tiny):
    site = Site("resid_post", 1)
    direction = random_direction(tiny, site)
    once = Steering(direction, operator="project_out", scope=Scope.everywhere())
    with steer(tiny, once):
        first, logits_once = seen_at(tiny, site)
    with steer(tiny, once, once):
        second, logits_twice = seen_at(tiny, site)
    before, _ = seen_at(tiny, site)
    size = float(before.norm(dim=-1).max())
    assert float((first @ direction.unit).abs().max()) < 1e-5 * size
    torch.testing.assert_close(first, second, atol=1e-5 * size, rtol=0)
    torch.testing.assert_close(logits_once, logits_twice, atol=1e-4, rtol=1e-4)


def test_half_the_strength_is_half_the_way(tiny):
    site = Site("resid_post", 1)
    direction = random_direction(tiny, site)
    before, _ = seen_at(tiny, site)
    whole = Steering(direction, operator="project_out", scope=Scope.everywhere())
    half = Steering(direction, operator="project_out", scope=Scope.everywhere(), strength=0.5)
    with steer(tiny, whole):
        far, _ = seen_at(tiny, site)
    with steer(tiny, half):
        midway, _ = seen_at(tiny, site)
    torch.testing.assert_close(midway, (before + far) / 2, atol=1e-5, rtol=1e-5)


def test_transformerlens_own_methods_are_steered_and_keep_their_hands_off(load):
    model = load("llama", "hooked")
    direction = random_direction(model, Site("resid_post", 1))
    steering = Steering(direction, Dose(3.0))
    with steer(model, steering):
        ours = model.forward(TOKENS)
        theirs, cache = model.transformer.run_with_cache(TOKENS)
        model.transformer.reset_hooks()
        again = model.forward(TOKENS)
    assert_rounded(ours, theirs, terms=PASS)
    assert torch.equal(ours, again)
    plain_cache = model.transformer.run_with_cache(TOKENS)[1]
    moved = cache["blocks.1.hook_resid_post"] - plain_cache["blocks.1.hook_resid_post"]
    torch.testing.assert_close(
        moved[:, 1:], (6.0 * direction.unit).expand(2, 5, -1), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("scope", [Scope.generated(), Scope.window(7, 9), Scope.all()])
def test_transformerlens_own_generate_sees_the_same_positions(load, scope):
    model = load("llama", "hooked")
    cell = Cell(
        (Steering(random_direction(model, Site("resid_post", 1)), Dose(25.0), scope=scope),)
    )
    prompt = TOKENS[0].tolist()
    [plain], [ours] = generate(model, [prompt], [Cell(), cell], n_new=6)
    assert plain != ours
    with steer(model, *cell.interventions):
        theirs = model.transformer.generate(
            TOKENS[:1], max_new_tokens=6, do_sample=False, verbose=False, prepend_bos=False
        )
    theirs = tuple(theirs[0, 6 : 6 + len(ours.tokens)].tolist())
    assert_same_text(model, (prompt, cell), ours, replace(ours, tokens=theirs))


def test_wrong_combinations_are_refused(tiny):
    direction = random_direction(tiny, Site("resid_post", 1))
    with pytest.raises(BadValueError, match="needs a dose"):
        Steering(direction)
    with pytest.raises(BadValueError, match="takes no dose"):
        Steering(direction, Dose(1.0), operator="project_out")
    with pytest.raises(BadValueError, match="outside 0..1"):
        Steering(direction, Dose(1.0), strength=1.5)


def test_a_vector_of_another_model_or_width_is_refused(tiny, load):
    direction = random_direction(tiny, Site("resid_post", 1))
    other = load("gpt2", "hooked")
    with (
        pytest.raises(VectorMismatchError, match="not on gpt2.*find it again"),
        steer(other, Steering(direction, Dose(1.0))),
    ):
        pass
    narrow = random_direction(tiny, Site("z", 1, 0))
    wrong = type(narrow)(
        Site("resid_post", 1), narrow.unit, narrow.scale, "random", narrow.provenance
    )
    with (
        pytest.raises(VectorMismatchError, match="8 components.*has 32"),
        steer(tiny, Steering(wrong, Dose(1.0))),
    ):
        pass
