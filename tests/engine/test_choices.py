"""Forced choices: odds and mass against the logits themselves, and no answer where there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.choices import (
    ENOUGH,
    Choices,
    first_token_choices,
    full_text_choices,
    tokens_of_word,
)
from steerscope.errors import BadValueError
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.prompting import Prompting
from tests.helpers import random_direction

ASKED = ["w30 w7 w41", "w12 w9"]


def likeliest(model, text):
    with torch.no_grad():
        return (
            model.forward(torch.tensor([model.tokens(text)]), last=1)[0, -1]
            .topk(2)
            .indices.tolist()
        )


def test_the_odds_are_those_of_the_next_token_in_all_its_spellings(microworld):
    asked = ["One day, Clara was", "The garden was"]
    words = ("happy", "sad")
    found = first_token_choices(microworld, asked, words, [Cell()])
    for place, text in enumerate(asked):
        with torch.no_grad():
            logits = microworld.forward(torch.tensor([microworld.tokens(text)]), last=1)[0, -1]
        p = torch.softmax(logits.double(), dim=-1)
        shares = [float(p[tokens_of_word(microworld, word)].sum()) for word in words]
        assert found.mass[0, place] == pytest.approx(sum(shares), rel=1e-4)
        assert math.isnan(found.log_odds[0, place]) == (sum(shares) < ENOUGH)


def test_a_token_that_only_begins_with_a_word_is_another(microworld):
    for word in ("happy", "the"):
        for token in tokens_of_word(microworld, word):
            assert microworld.token_label(token).strip().lower() == word
    with pytest.raises(BadValueError, match="is no single token"):
        tokens_of_word(microworld, "electroencephalography")


def test_below_half_of_the_probability_there_is_no_answer_and_never_a_zero(load):
    model = load()
    found = first_token_choices(model, ASKED, ("w10", "w20"), [Cell()])
    assert (found.mass < ENOUGH).all()
    assert all(math.isnan(v) for v in found.log_odds.ravel())
    assert found.answered.tolist() == [[0.0, 0.0]]


def test_what_has_the_probability_is_chosen(load):
    """A push along the unembedding of a word makes it the answer."""
    model = load()
    weights = model.transformer.W_U.detach()
    direction = random_direction(model, Site("resid_post", model.shape.n_layers - 1))
    units = [weights[:, token] / weights[:, token].norm() for token in (10, 20)]
    along = [replace(direction, unit=unit.float()) for unit in units]
    cells = [Cell((Steering(d, Dose(1e4, "absolute"), scope="everywhere"),)) for d in along]
    found = first_token_choices(model, ASKED, ("w10", "w20"), cells)
    assert (found.mass >= ENOUGH).all()
    assert (found.log_odds[0] > 0).all()
    assert (found.log_odds[1] < 0).all()


def test_whole_texts_are_compared_by_all_their_tokens(load):
    model = load()
    found = full_text_choices(model, ASKED, [(" w5 w6", " w7"), (" w8", " w9")], [Cell()])
    from steerscope.engine.score import log_likelihoods

    for place, both in enumerate([(" w5 w6", " w7"), (" w8", " w9")]):
        start = len(model.tokens(ASKED[place]))
        sums = [
            float(log_likelihoods(model, [ASKED[place] + a], after=[start])[0].sum()) for a in both
        ]
        assert found.mass[0, place] == pytest.approx(sum(map(math.exp, sums)), rel=1e-4)


def test_the_odds_are_the_nats_of_the_first_answer_less_those_of_the_second(load, monkeypatch):
    monkeypatch.setattr("steerscope.engine.choices.ENOUGH", 0.0)
    model, words, texts = load(), ("w10", "w20"), [(" w5 w6", " w7"), (" w8", " w9 w4")]
    pushed = Steering(random_direction(model, Site("resid_post", 1)), Dose(2.0, "relative"))
    for cell in (Cell(), Cell((pushed,))):
        with torch.no_grad(), steer(model, *cell.interventions):
            shares = [
                torch.log_softmax(model.forward(torch.tensor([model.tokens(p)]))[0, -1], dim=-1)
                for p in ASKED
            ]
            sums = [[said(model, p, a) for a in both] for p, both in zip(ASKED, texts, strict=True)]
        of_words = [float(p[10] - p[20]) for p in shares]
        of_texts = [first - second for first, second in sums]
        first = first_token_choices(model, ASKED, words, [cell])
        whole = full_text_choices(model, ASKED, texts, [cell])
        assert first.log_odds[0] == pytest.approx(of_words, abs=1e-3)
        assert whole.log_odds[0] == pytest.approx(of_texts, abs=1e-3)
        turned = first_token_choices(model, ASKED, words[::-1], [cell])
        assert turned.log_odds == pytest.approx(-first.log_odds)
        turned = full_text_choices(model, ASKED, [both[::-1] for both in texts], [cell])
        assert turned.log_odds == pytest.approx(-whole.log_odds)
        assert min(map(abs, of_words + of_texts)) > 0.1


def said(model, prompt, answer):
    """The log-likelihood of an answer after a prompt, from the logits."""
    start, ids = len(model.tokens(prompt)), torch.tensor([model.tokens(prompt + answer)])
    nats = torch.log_softmax(model.forward(ids)[0, start - 1 : -1], dim=-1)
    return float(nats.gather(1, ids[0, start:, None]).sum())


def test_what_is_asked_in_words_is_said_before_the_question(load):
    model = load()
    cells = [Cell(), Cell((Prompting("w50 w51"),))]
    found = first_token_choices(model, ASKED, ("w10", "w20"), cells)
    said = first_token_choices(
        model, [cells[1].interventions[0].seen(p) for p in ASKED], ("w10", "w20"), [Cell()]
    )
    assert found.mass[1].tolist() == pytest.approx(said.mass[0].tolist(), rel=1e-4)
    assert found.mass[0].tolist() != pytest.approx(found.mass[1].tolist(), rel=1e-3)


def test_logits_that_are_no_numbers_are_no_answer_either():
    import numpy as np

    found = Choices(np.array([[np.nan]]), np.array([[np.nan]]))
    assert np.isnan(found.answered).all()
