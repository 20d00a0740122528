"""What screens the edits of a sweep: leanings by hand, crossed where there is something to turn."""

from __future__ import annotations

import pytest
import torch

from steerscope.engine.score import log_likelihoods
from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.steering.interventions import Cell
from steerscope.studies.weights.screening import CROSSED, WHOLE, screen_of
from steerscope.texts.contrasts import ContrastPair, ContrastSet

FLIPPED = Effect("flipped", "share", "stories flipped", "joyful", "gloomy")
ALIGNED = ContrastSet(
    "aligned",
    tuple(ContrastPair(f"w{i} w10 w3 w11", f"w{i} w20 w3 w21", "w") for i in range(30, 34)),
)
RAGGED = ContrastSet("ragged", (ContrastPair("w1 w2 w3", "w4 w5", "w"),))


def test_a_flip_is_screened_by_a_beginning_in_the_other_class():
    screen = screen_of(ALIGNED, FLIPPED, 1)
    assert screen.kind == CROSSED
    assert dict(screen.texts) == {
        "joyful": (("w30 w20 w3 w11", "w30 w20 w3 w21"),),
        "gloomy": (("w30 w10 w3 w21", "w30 w10 w3 w11"),),
    }


@pytest.mark.parametrize(("pairs", "effect"), [(RAGGED, FLIPPED), (ALIGNED, PREFERENCE)])
def test_whole_pairs_screen_what_cannot_be_crossed_or_is_a_preference(pairs, effect):
    screen = screen_of(pairs, effect, 9)
    texts = tuple((p.positive, p.negative) for p in pairs.pairs)
    assert screen.kind == WHOLE
    assert screen.texts[effect.positive] == texts
    assert screen.texts[effect.negative] == tuple((b, a) for a, b in texts)


@pytest.mark.parametrize("effect", [FLIPPED, PREFERENCE])
def test_a_leaning_is_the_log_odds_of_the_text_that_goes_over(load, effect):
    model, screen = load(), screen_of(ALIGNED, effect, 3)
    found = screen.leanings(model, [Cell()])
    for target, texts in screen.texts.items():
        sums = [
            [float(s.sum()) for s in log_likelihoods(model, [pair[side] for pair in texts])]
            for side in (0, 1)
        ]
        expected = torch.tensor(sums[0]) - torch.tensor(sums[1])
        torch.testing.assert_close(found[target][0], expected, atol=1e-4, rtol=1e-4)
        assert float(expected.abs().min()) > 1e-3
