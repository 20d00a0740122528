from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine import decoding, score
from steerscope.engine.answers import answer_scores
from steerscope.engine.decoding import States
from steerscope.engine.generation import attempt, generate
from steerscope.engine.sampling import Greedy, Sample
from steerscope.engine.score import kl_from_plain, log_likelihoods
from steerscope.engine.written import written_scores
from steerscope.engine.written_nats import written_nats
from steerscope.metrics import kl_divergence
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.prompting import Prompting
from steerscope.steering.scopes import Scope
from tests.engine.test_score import PROMPTS, cells_of
from tests.helpers import random_direction

WRITTEN = [[11, 12, 13, 14], [15], [], [60, 61]]  # after each prompt, with an empty one


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_the_kl_of_written_tokens_is_that_of_the_distributions_they_were_drawn_from(load, backbone):
    model = load("llama", backbone)
    cells = cells_of(model)
    found = written_scores(model, PROMPTS, cells, [WRITTEN] * len(cells))
    for c, cell in enumerate(cells):
        for p, (prompt, written) in enumerate(zip(PROMPTS, WRITTEN, strict=True)):
            if not written:
                assert np.isnan(found.kl[c, p])
                assert np.isnan(found.nll[c, p])
                continue
            tokens = torch.tensor([[*prompt, *written]])
            with torch.no_grad():
                plain = model.forward(tokens)
                # Where the prompt ended is held, so that `generated` and `last` mean what they did.
                with steer(model, *cell.interventions), model.clock.hold(len(prompt)):
                    steered = model.forward(tokens)
            expected = kl_divergence(steered, plain)[0, len(prompt) - 1 : -1].mean()
            assert found.kl[c, p] == pytest.approx(float(expected), abs=1e-5, rel=1e-3)
            nll = -float(
                log_likelihoods(model, [tokens[0].tolist()], after=[len(prompt)])[0].mean()
            )
            assert found.nll[c, p] == pytest.approx(nll, abs=1e-5)
    assert (found.kl[0][[0, 1, 3]] == 0).all()
    assert np.nanmin(found.kl[1:4]) > 1e-6


@pytest.mark.parametrize("scope", ["generated", "last:1", "prompt", "steps:2"])
@pytest.mark.parametrize("layer", [0, 2])
def test_a_steering_from_outside_takes_what_was_written_as_written(tiny, scope, layer):
    outer = Steering(random_direction(tiny, Site("resid_post", layer)), Dose(4.0), scope=scope)
    cells = [Cell(), Cell(Steering(random_direction(tiny, Site("resid_post", 1), seed=1), 2.0))]
    with steer(tiny, outer):
        found = written_scores(tiny, PROMPTS, cells, [WRITTEN] * 2)
        nats = written_nats(tiny, PROMPTS, [WRITTEN])[0]
        answers = [(p, w) for p, w in zip(PROMPTS, WRITTEN, strict=True) if w]
        likely = iter(answer_scores(tiny, answers, [Cell()]).log_likelihood[0])
    for p, (prompt, written) in enumerate(zip(PROMPTS, WRITTEN, strict=True)):
        if not written:
            continue
        tokens, places = torch.tensor([[*prompt, *written]]), slice(len(prompt) - 1, -1)
        with torch.no_grad(), steer(tiny, outer), tiny.clock.hold(len(prompt)):
            plain = tiny.forward(tokens)[0, places]
            with steer(tiny, *cells[1].interventions):
                steered = tiny.forward(tokens)[0, places]
        of_tokens = plain.log_softmax(-1).gather(-1, tokens[0, len(prompt) :, None])
        nll = -float(of_tokens.mean())
        assert found.nll[:, p] == pytest.approx([nll] * 2, abs=1e-4)
        assert nats[p] == pytest.approx(nll, abs=1e-4)
        assert next(likely) == pytest.approx(float(of_tokens.sum()), abs=1e-4)
        expected = float(kl_divergence(steered, plain).mean())
        assert found.kl[1, p] == pytest.approx(expected, abs=1e-5, rel=1e-3)


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_what_the_last_block_gave_while_writing_scores_as_a_second_run_does(load, backbone):
    model = load("llama", backbone)
    cells = [*cells_of(model), Cell((Prompting("Say it.", ()),))]
    prompts = ["a b c", "d e f g h", "a b d"]
    states = States()
    written = attempt(model, prompts, cells, n_new=5, sampler=Sample(1.0, seed=3), states=states)
    tokens = [[c.tokens for c in row] for row in written]
    assert {at: len(s) for at, s in states.items()} == {
        (c, p): len(t) for c, row in enumerate(tokens) for p, t in enumerate(row) if t
    }
    again = written_scores(model, prompts, cells, tokens)
    found = written_scores(model, prompts, cells, tokens, states)
    for name in ("nll", "kl", "kl_reverse", "js"):
        np.testing.assert_allclose(getattr(found, name), getattr(again, name), atol=2e-5)
    assert np.nanmax(found.kl) > 1e-3
    del states[1, 0]
    some = written_scores(model, prompts, cells, tokens, states)
    np.testing.assert_allclose(some.kl, again.kl, atol=2e-5)


BEGINNING = "a b c d e f g h i j k l"


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("beginning", ["", BEGINNING])
def test_what_the_last_block_gave_over_prompts_tells_the_kl_that_another_pass_does(
    load, family, beginning, monkeypatch
):
    model = load(family, "hooked")
    direction = random_direction(model, Site("resid_post", 0))
    scopes = ("all", "last:1", "window:0:2", "generated", "prompt", "steps:1:2")
    cells = [
        *cells_of(model),
        *(Cell((Steering(direction, Dose(6.0), scope=Scope.parse(s)),)) for s in scopes),
        Cell((Prompting("Say it.", ()),)),
    ]
    prompts = [f"{beginning} {rest}".strip() for rest in ("a b c", "d e f g h", "a b d", "a b c")]
    states = States()
    numbers = [0, 0, 0, 1]  # the last is another sample of the first
    sampler = Sample(1.0, seed=3)
    attempt(model, prompts, cells, n_new=3, sampler=sampler, numbers=numbers, states=states)
    again = kl_from_plain(model, prompts, cells)
    assert len(states.prompts) == len(cells) * len(prompts)
    run = []
    monkeypatch.setattr(score, "attach_cells", lambda *_: run.append(1) or nullcontext())
    found = kl_from_plain(model, prompts, cells, states=states)
    assert not run
    np.testing.assert_allclose(found, again, atol=2e-5, rtol=1e-3)
    assert float(again[:-1].nan_to_num().max()) > 1e-3


def test_prompts_pass_plain_once_while_there_is_room(load, monkeypatch):
    model = load("llama", "hooked")
    cells, prompts = cells_of(model), ["w5 w6 w7", "w8 w9 w5 w6 w7", "w5 w6 w8"]
    run = []
    plain_pass = type(model).plain_pass
    monkeypatch.setattr(
        type(model), "plain_pass", lambda *given: run.append(1) or plain_pass(*given)
    )
    for room, passes in ((2**28, 2), (0, 6)):  # two lengths, for the texts and for both readings
        monkeypatch.setattr(decoding, "_PROMPTS_AT_MOST", room)
        run.clear()
        states = States()
        written = attempt(model, prompts, cells, n_new=3, states=states)
        tokens = [[c.tokens for c in row] for row in written]
        found = written_scores(model, prompts, cells, tokens, states)
        kl = kl_from_plain(model, prompts, cells, states=states.of_cells(range(len(cells))))
        assert len(run) == passes
        np.testing.assert_allclose(
            found.kl, written_scores(model, prompts, cells, tokens).kl, atol=2e-5
        )
        np.testing.assert_allclose(kl, kl_from_plain(model, prompts, cells), atol=2e-5, rtol=1e-3)


def test_where_what_was_kept_is_not_of_all_prompts_they_run_again(load, monkeypatch):
    model = load("llama", "hooked")
    cells, states = cells_of(model), States()
    prompts = ["a b c", "d e f"]
    attempt(model, prompts, cells, n_new=2, states=states)
    again = kl_from_plain(model, prompts, cells)
    wrong = States()
    wrong.prompts = {at: 0 * state for at, state in states.prompts.items() if at != (1, 0)}
    found = kl_from_plain(model, prompts, cells, states=wrong)
    np.testing.assert_allclose(found[1], again[1], atol=2e-5)  # its other prompt, too
    assert float((found[2] - again[2]).abs().max()) > 1e-3
    monkeypatch.setattr(decoding, "_PROMPTS_AT_MOST", 0)
    none = States()
    attempt(model, prompts, cells, n_new=2, states=none)
    assert none.prompts == {}


def test_a_dose_on_what_is_written_alone_is_seen_there_and_not_on_the_prompt(tiny):
    # The first written token is drawn before anything is steered, those after it are not.
    generated = Steering(
        random_direction(tiny, Site("resid_pre", 0)), Dose(9.0), scope=Scope.generated()
    )
    cell = Cell((generated,))
    written = [[c.tokens for c in generate(tiny, PROMPTS, [cell], n_new=4, sampler=Greedy())[0]]]
    whole = written_scores(tiny, PROMPTS, [cell], written).kl[0]
    first = written_scores(tiny, PROMPTS, [cell], [[w[:1] for w in written[0]]]).kl[0]
    assert (whole > 1e-3).all()
    np.testing.assert_allclose(first, 0.0, atol=1e-6)
