"""Answers after questions that begin alike: the same as each alone, and what is alike runs once."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from steerscope.directions import find_direction
from steerscope.doses import Dose
from steerscope.engine.answers import answer_scores
from steerscope.extraction.activations import extract
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.scopes import Scope
from steerscope.texts.contrasts import ContrastPair, ContrastSet

PAIRS = ContrastSet(
    "words", tuple(ContrastPair(f"w{i} w6 w7", f"w{i} w8 w9", "c") for i in range(10, 18))
)
SCOPES = ("all", "everywhere", "prompt", "generated", "last:3", "window:5:44", "steps:1:2",
          "from_token:15", "all-last:2")  # fmt: skip


def questions(n_alike, n=9, seed=0):
    """Questions that begin alike, of different lengths, each with an answer of its own."""
    drawn = Random(seed)

    def ids(k):
        return [drawn.randrange(10, 90) for _ in range(k)]

    begin = ids(n_alike)
    return [([1, *begin, *ids(1 + i % 4)], ids(1 + i % 3)) for i in range(n)]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("operator", ["add", "project_out"])
def test_answers_are_as_likely_together_as_alone(load, name, operator):
    model = load(name)
    contrast = extract(model, PAIRS, [Site("resid_post", 0)])[Site("resid_post", 0)]
    direction = find_direction("mean_diff", contrast)
    dose = {"dose": Dose(2.0)} if operator == "add" else {}
    cells = [
        Cell(),
        *(Cell((Steering(direction, operator=operator, scope=Scope.parse(s), **dose),)) for s in SCOPES),
    ]  # fmt: skip
    asked = questions(40)
    found = answer_scores(model, asked, cells)
    for number, one in enumerate(asked):
        alone = answer_scores(model, [one], cells)
        np.testing.assert_allclose(
            found.log_likelihood[:, number], alone.log_likelihood[:, 0], atol=2e-4, rtol=1e-4
        )
        assert (found.greedy[:, number] == alone.greedy[:, 0]).all()
    assert np.ptp(found.log_likelihood, axis=0).min() > 1e-3  # the scopes differ


def test_answers_to_one_question_that_begin_alike_are_told_apart(load):
    model, asked = load(), [1, *range(10, 60)]
    answers = [(asked, [20]), (asked, [20, 21]), (asked, [20, 22, 23]), (asked, [30])]
    together = answer_scores(model, answers, [Cell()])
    alone = [answer_scores(model, [one], [Cell()]).log_likelihood[0, 0] for one in answers]
    np.testing.assert_allclose(together.log_likelihood[0], alone, atol=2e-4)


@pytest.mark.hooked
def test_what_all_questions_begin_with_runs_once_for_all_of_them(load, monkeypatch):
    model = load()
    contrast = extract(model, PAIRS, [Site("resid_post", 0)])[Site("resid_post", 0)]
    cells = [Cell((Steering(find_direction("mean_diff", contrast), Dose(2.0)),))]
    ran, whole = [], model.run_blocks

    def counted(residual, *more):
        ran.append(residual.shape[0] * residual.shape[1])
        return whole(residual, *more)

    monkeypatch.setattr(model, "run_blocks", counted)
    answer_scores(model, questions(50, n=30), [Cell(), *cells])
    assert sum(ran) < 2 * (50 + 30 * 8)  # and not 2 * 30 * 55
