"""Prompting: what the model sees, and the laws of conditions that change the text alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Greedy, Sample
from steerscope.engine.score import kl_from_plain, log_likelihoods, preference, preferences
from steerscope.engine.written import written_scores
from steerscope.errors import BadValueError
from steerscope.metrics import kl_divergence
from steerscope.models.chat_templates import wrapped
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.prompting import Prompting, on_activations, seen_under
from steerscope.steering.scopes import Scope
from steerscope.texts.chats import Chat, Message, as_conversation
from steerscope.texts.contrasts import Prompt, PromptSet
from tests.helpers import random_direction
from tests.same_text import assert_same_text

TURNS = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TURNS
)
DROPPING = (
    "{% for m in messages if m['role'] in ['user', 'assistant'] %}[{{ m['role'] }}] "
    "{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
PROMPTS = ["w5 w9", "w7 w20 w33 w41", "w8 w30"]
ASKED = Prompting("w60 w61 w62")
SHOWN = Prompting(examples=("w70 w71", "w72"))
BOTH = Prompting("w60 w61 w62", ("w70 w71", "w72"))


def in_template(model, text, monkeypatch, template=TURNS, chat=None):
    monkeypatch.setattr(model.tokenizer, "chat_template", template)
    return wrapped(model, PromptSet("p", (Prompt(text),)), chat).prompts[0].text


def test_in_plain_text_the_words_come_before_the_prompt():
    assert ASKED.seen("hello") == "w60 w61 w62\n\nhello"
    assert SHOWN.seen("hello") == "w70 w71\n\nw72\n\nhello"
    assert BOTH.seen("hello") == "w60 w61 w62\n\nw70 w71\n\nw72\n\nhello"


def test_in_a_chat_the_instruction_stands_in_the_system_turn(load, monkeypatch):
    model = load("llama")
    text = in_template(model, "hello", monkeypatch)
    assert text == "[user] hello\n[assistant]"
    seen = Prompting("Be terse.").seen(text)
    assert seen == "[system] Be terse.\n[user] hello\n[assistant]"
    own = in_template(model, "hello", monkeypatch, chat=Chat(system="You are Ann."))
    found = Prompting("Be terse.").seen(own)
    assert found == "[system] You are Ann.\n\nBe terse.\n[user] hello\n[assistant]"


@pytest.mark.parametrize("template", [REFUSING, DROPPING], ids=["refuses", "leaves out"])
def test_where_a_template_takes_no_system_turn_the_words_go_to_the_user(
    load, monkeypatch, template
):
    text = in_template(load("llama"), "hello", monkeypatch, template)
    assert Prompting("Be terse.").seen(text) == "[user] Be terse.\n\nhello\n[assistant]"


def test_examples_that_are_conversations_are_earlier_turns(load, monkeypatch):
    text = in_template(load("llama"), "hello", monkeypatch)
    example = as_conversation("Hi?").then("Ho.")
    shown = Prompting("Be terse.", (example,)).seen(text)
    assert shown == ("[system] Be terse.\n[user] Hi?\n[assistant] Ho.\n[user] hello\n[assistant]")
    with pytest.raises(BadValueError, match="wrap the prompts"):
        Prompting(examples=(example,)).seen("hello")


def test_an_answer_that_is_begun_stays_open(load, monkeypatch):
    monkeypatch.setattr(load("llama").tokenizer, "chat_template", TURNS)
    begun = as_conversation([{"role": "user", "content": "Hi?"}]).then("Well")
    text = wrapped(load("llama"), PromptSet("p", (Prompt(begun),))).prompts[0].text
    assert text.turns[-1] == Message("assistant", "Well")
    assert Prompting("Be terse.").seen(text).rstrip().endswith("Well")


@pytest.mark.parametrize("sampler", [Greedy(), Sample(1.2, seed=3)], ids=["greedy", "sampled"])
def test_a_batch_with_prompts_of_its_own_for_each_condition_is_each_alone(tiny, sampler):
    steering = Steering(random_direction(tiny, Site("resid_post", 1)), Dose(2.0))
    late = Steering(
        random_direction(tiny, Site("resid_post", 0)), Dose(3.0), scope=Scope.generated()
    )
    cells = [Cell(), Cell((BOTH,)), Cell((steering,)), Cell((ASKED, late))]
    together = generate(tiny, PROMPTS, cells, n_new=6, sampler=sampler)
    for c, cell in enumerate(cells):
        for p, prompt in enumerate(PROMPTS):
            seen, acting = seen_under(cell, prompt), on_activations(cell)
            alone = generate(tiny, [prompt], [cell], n_new=6, sampler=sampler, use_cache=False)[0][
                0
            ]
            assert_same_text(tiny, (tiny.tokens(seen), acting), together[c][p], alone, sampler)
    by_hand = generate(tiny, [BOTH.seen(p) for p in PROMPTS], n_new=6)[0]
    asked = generate(tiny, PROMPTS, [Cell((BOTH,))], n_new=6)[0]
    assert [c.tokens for c in asked] == [c.tokens for c in by_hand]
    assert [c.tokens for c in asked] != [c.tokens for c in generate(tiny, PROMPTS, n_new=6)[0]]


def test_the_kl_at_prompt_positions_is_unknown_and_that_of_written_tokens_measured(tiny):
    steering = Steering(random_direction(tiny, Site("resid_post", 1)), Dose(2.0))
    cells = [Cell(), Cell((ASKED,)), Cell((steering,)), Cell((ASKED, steering))]
    nats = kl_from_plain(tiny, PROMPTS, cells)
    assert torch.isnan(nats[[1, 3]]).all()
    assert (nats[0] < 1e-6).all()  # of the same activations, but in another batch
    torch.testing.assert_close(nats[2], kl_from_plain(tiny, PROMPTS, [cells[2]])[0])

    written = [[(11, 12, 13), (15,), ()]] * len(cells)
    found = written_scores(tiny, PROMPTS, cells, written)
    for c, cell in enumerate(cells):
        for p, tokens in enumerate(written[c]):
            if not tokens:
                assert np.isnan(found.kl[c, p])
                continue
            plain = [*tiny.tokens(PROMPTS[p]), *tokens]
            seen = tiny.tokens(seen_under(cell, PROMPTS[p]))
            n = len(tokens)
            with torch.no_grad():
                q = tiny.forward(torch.tensor([plain]))[:, -n - 1 : -1]
                acting = on_activations(cell).interventions
                with steer(tiny, *acting), tiny.clock.hold(len(seen)):
                    whole = tiny.forward(torch.tensor([[*seen, *tokens]]))[:, -n - 1 : -1]
            expected = float(kl_divergence(whole, q)[0].mean())
            assert found.kl[c, p] == pytest.approx(expected, abs=1e-5, rel=1e-3)
            nll = -float(log_likelihoods(tiny, [plain], after=[len(plain) - n])[0].mean())
            assert found.nll[c, p] == pytest.approx(nll, abs=1e-5)  # after the prompt itself
    assert (found.kl[1][:2] > 1e-4).all()


def test_a_preference_is_that_of_the_texts_as_they_are_seen(tiny):
    pairs = [("w5 w6", "w5 w7"), ("w8 w9 w10", "w8 w11")]
    found = preferences(tiny, pairs, [Cell(), Cell((ASKED,))])
    seen = [(ASKED.seen(a), ASKED.seen(b)) for a, b in pairs]
    torch.testing.assert_close(found[1], preference(tiny, seen, Cell()), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[0], preference(tiny, pairs, Cell()), atol=1e-4, rtol=1e-4)
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_words_are_refused_where_they_would_do_nothing(tiny):
    with pytest.raises(BadValueError, match="condition"), steer(tiny, ASKED):
        pass
    with pytest.raises(BadValueError, match="as text"):
        generate(tiny, [[1, 5, 9]], [Cell((ASKED,))], n_new=2)
    with pytest.raises(BadValueError, match="neither"):
        Prompting(" ")
    with pytest.raises(BadValueError, match="empty"):
        Prompting("w1", ("",))


def test_other_words_are_another_condition_and_the_same_words_the_same():
    assert Cell((ASKED,)).key == Cell((Prompting("w60 w61 w62"),)).key
    assert len({Cell((p,)).key for p in (ASKED, SHOWN, BOTH, Prompting("w60"))}) == 4
    labels = BOTH.labels()
    assert labels["method"] == "prompting_both"
    assert np.isnan(labels["dose_natural"])
