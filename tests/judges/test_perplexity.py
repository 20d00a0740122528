"""Perplexity: every token once and alike, whatever the windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from steerscope import Cell, log_likelihoods
from steerscope.errors import BadValueError
from steerscope.judges.perplexity import TextNats, Window, sliding_windows, text_nats
from tests.helpers import PASS, rounding


def test_perplexity_weighs_tokens_and_not_texts_by_hand():
    # 1 token at 3 nats and 3 tokens at 1 nat each: 6 nats over 4 tokens, not (3 + 1) / 2
    found = TextNats(np.array([[3.0, 3.0]]), np.array([1, 3]))
    assert found.perplexity[0] == pytest.approx(math.exp(1.5))
    assert found.perplexity[0] != pytest.approx(math.exp(2.0))


def test_windows_by_hand():
    assert sliding_windows(10, 6, 2) == [Window(0, 0, 6), Window(2, 6, 8), Window(4, 8, 10)]
    assert sliding_windows(5, 6, 2) == [Window(0, 0, 5)]
    assert sliding_windows(7, 4, 2) == [Window(0, 0, 4), Window(2, 4, 6), Window(3, 6, 7)]


@pytest.mark.parametrize("n", [1, 5, 6, 17, 64])
@pytest.mark.parametrize(("window", "stride"), [(6, 1), (6, 5), (6, 3), (8, 2)])
def test_every_token_is_scored_once_with_as_much_context_as_fits(n, window, stride):
    found = sliding_windows(n, window, stride)
    scored = [i for w in found for i in range(w.first, w.stop)]
    assert scored == list(range(n))
    assert all(w.stop - w.start <= window for w in found)
    assert all(w.start == 0 or w.stop - w.start == window for w in found)


@pytest.mark.parametrize(("window", "stride"), [(6, 0), (6, 6), (6, 7)])
def test_strides_that_leave_no_context_are_refused(window, stride):
    with pytest.raises(BadValueError, match="stride"):
        sliding_windows(10, window, stride)


def test_a_text_that_fits_is_scored_as_a_whole(tiny):
    texts = [[1, 5, 7, 9, 11, 4], [1, 8, 3]]
    found = text_nats(tiny, texts, [Cell()])
    whole = [-float(s.double().sum()) for s in log_likelihoods(tiny, texts)]
    np.testing.assert_allclose(found.nats[0], whole, rtol=rounding(PASS, 1.0))
    assert found.tokens.tolist() == [5, 2]


def test_a_long_text_is_the_loop_over_its_windows(load):
    tiny = load("llama", "hooked")
    tokens = torch.randint(3, 96, (90,), generator=torch.Generator().manual_seed(0)).tolist()
    found = text_nats(tiny, [tokens], [Cell()], window=17, stride=5)
    total, n = 0.0, 0
    start = 0
    while n < len(tokens):
        end = 16 if not n else min(len(tokens), n + 5)
        start = max(0, end - 16)
        logits = tiny.forward(torch.tensor([[1, *tokens[start:end]]]))[0].log_softmax(-1)
        for position in range(n, end):
            total -= float(logits[position - start, tokens[position]])
        n = end
    assert found.tokens.tolist() == [90]
    assert found.nats[0, 0] == pytest.approx(total, rel=1e-5)


def test_windows_beyond_the_context_and_texts_without_tokens_are_refused(tiny):
    with pytest.raises(BadValueError, match="holds 64"):
        text_nats(tiny, ["w3 w4"], [Cell()], window=65)
    with pytest.raises(BadValueError, match="no token to score"):
        text_nats(tiny, [[1]], [Cell()])
