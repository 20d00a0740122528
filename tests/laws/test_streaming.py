"""Tokens that are told one by one are those of generate, whoever else is in the batch."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.continuous import ContinuousBatch
from steerscope.engine.generation import Continuation, generate
from steerscope.engine.sampling import Greedy, Sample
from steerscope.engine.streaming import live_rows, stream
from steerscope.errors import BadValueError, NotFiniteError, PromptTooLongError, VectorMismatchError
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.prompting import Prompting
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import parse_strength
from tests.helpers import FAMILIES, count_hooks, origin, random_direction
from tests.laws.test_generation import PROMPTS, cells_of
from tests.same_text import assert_same_text


def joined(tokens):
    """What a stream told, as continuations by cell, prompt and sample."""
    ids, texts, ends = defaultdict(list), defaultdict(str), {}
    for token in tokens:
        place = token.cell, token.prompt, token.sample
        assert place not in ends  # nothing comes after the last
        texts[place] += token.text
        if token.id is None:
            ends[place] = token.finish == "ended"
        else:
            ids[place].append(token.id)
            assert token.finish == ""
            assert token.log_prob <= 0
    return {p: Continuation(tuple(ids[p]), texts[p], ends[p]) for p in ends}


def conditions_of(model):
    """Those of a grid, and conditions that read tokens, steps, activations and keys."""
    direction = random_direction(model, Site("resid_post", 1), seed=9)
    more = [
        Steering(direction, Dose(2.0), scope=Scope.parse("after_token:9")),
        Steering(direction, Dose(2.0), strength=parse_strength("ramp:3")),
        Steering(direction, Dose(3.0), strength=parse_strength("projection:0.1:below")),
    ]
    if model.backbone == "hooked":
        more.append(Steering(direction, Dose(3.0), strength=parse_strength("key_gap:1:0.3")))
    return [*cells_of(model), *(Cell(s) for s in more)]


QUICK = {"gpt2": Greedy(), "llama": Sample(1.1, seed=3), "lfm2": Greedy()}
CASES = [*QUICK, *(pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES if f not in QUICK)]


@pytest.mark.parametrize("family", CASES)
def test_a_stream_tells_the_tokens_of_generate(load, family):
    backbone = "bridge" if family in {"gemma3", "lfm2"} else "hooked"
    model, drawn = load(family, backbone), QUICK.get(family, Greedy())
    cells, prompts = conditions_of(model), PROMPTS[:3]
    told = joined(stream(model, prompts, cells, n_new=4, sampler=drawn, max_rows=17))
    assert len(told) == len(cells) * len(prompts)
    expected = generate(model, prompts, cells, n_new=4, sampler=drawn)
    for (cell, prompt, _), found in told.items():
        subject = (prompts[prompt], cells[cell])
        assert_same_text(model, subject, found, expected[cell][prompt], drawn)


def test_rows_that_join_at_any_time_are_written_as_alone(load):
    model = load("llama", "hooked")
    cells = conditions_of(model)
    generator = torch.Generator().manual_seed(5)
    batch, written = ContinuousBatch(model, max_rows=9), {}
    coming = []
    for number in range(22):
        length = int(torch.randint(2, 30, (), generator=generator))
        prompt = torch.randint(3, 96, (length,), generator=generator).tolist()
        cell = cells[number % len(cells)]
        [row] = live_rows(model, [prompt], [cell], n_new=1 + number % 7)
        coming.append((row, cell))
    waiting = list(coming)
    while waiting or not batch.is_idle:
        for _ in range(int(torch.randint(0, 4, (), generator=generator))):
            if waiting:
                batch.add(waiting.pop()[0])
        before = len(batch.rows)
        batch.step()
        assert before <= 9
    for row, cell in coming:
        found = Continuation(tuple(row.written), model.text(row.written, after=row.ids), row.ended)
        [[alone]] = generate(model, [row.ids], [cell], n_new=row.n_new, use_cache=False)
        assert_same_text(model, (row.ids, cell), found, alone)
        written[found.tokens] = cell
        assert len(row.log_probs) == len(row.written)
    assert len(written) > 15  # the rows do differ


def test_a_row_that_is_broken_or_dropped_leaves_the_others_alone(load):
    model = load("llama", "hooked")
    huge = random_direction(model, Site("resid_post", 1), natural=1e38)
    broken = Cell(Steering(huge, Dose(30.0)))
    batch = ContinuousBatch(model)
    # the longest, so that it leaves the last place behind with its NaN in it
    [bad] = live_rows(model, [[*PROMPTS[3], 57]], [broken], n_new=8)
    good = live_rows(model, PROMPTS, [Cell()], n_new=8)
    late = live_rows(model, PROMPTS, [Cell()], n_new=8)
    for row in (bad, *good):
        batch.add(row)
    batch.step()
    assert not bad.finite
    batch.drop(good[0])
    for row in late:  # takes the place of the row with the NaN
        batch.add(row)
    while not batch.is_idle:
        batch.step()
    [alone] = generate(model, PROMPTS, n_new=8)
    for rows in (good[1:], late[1:]):
        for row, expected in zip(rows, alone[1:], strict=True):
            found = Continuation(
                tuple(row.written), model.text(row.written, after=row.ids), row.ended
            )
            assert_same_text(model, (row.ids, Cell()), found, expected)
    assert len(good[0].written) == 1
    batch.drop(good[0])  # again changes nothing


def test_what_a_broken_row_leaves_behind_reaches_nobody_who_comes_later(load):
    model = load("llama", "hooked")
    huge = random_direction(model, Site("resid_post", 0), natural=1e38)
    broken = Cell(Steering(huge, Dose(30.0), scope="generated"))
    batch = ContinuousBatch(model)
    [bad] = live_rows(model, [list(range(10, 30))], [broken], n_new=8)
    [short] = live_rows(model, [list(range(40, 46))], [Cell()], n_new=12)
    [long] = live_rows(model, [list(range(50, 80))], [Cell()], n_new=12)
    for row in (bad, short):  # the short one moves to the place of the broken one
        batch.add(row)
        batch.step()
    assert not bad.finite
    batch.add(long)  # beside it the short row looks at places behind its own, with no weight
    while not batch.is_idle:
        batch.step()
    for row in (short, long):
        found = Continuation(tuple(row.written), model.text(row.written, after=row.ids), row.ended)
        [[alone]] = generate(model, [row.ids], n_new=12)
        assert row.finite
        assert_same_text(model, (row.ids, Cell()), found, alone)


class Stuck:
    """A sampler that does not know what to choose."""

    def choose(self, logits, keys):
        raise ZeroDivisionError("no choice")


@pytest.mark.parametrize("joins_late", [False, True])
def test_a_choice_that_fails_is_that_of_its_row_alone(load, joins_late):
    model, batch = load("llama", "hooked"), ContinuousBatch(load("llama", "hooked"))
    good = live_rows(model, PROMPTS, [Cell()], n_new=8)
    [bad] = live_rows(model, [PROMPTS[0]], [Cell()], n_new=8, sampler=Stuck())
    for row in good if joins_late else [bad, *good]:
        batch.add(row)
    batch.step()
    if joins_late:
        batch.add(bad)
    while not batch.is_idle:
        batch.step()
    assert isinstance(bad.failure, ZeroDivisionError)
    [expected] = generate(model, PROMPTS, n_new=8)
    assert [tuple(row.written) for row in good] == [c.tokens for c in expected]
    assert [row.failure for row in good] == [None] * len(good)


def test_a_stream_that_is_left_leaves_the_model_as_it_was(tiny):
    direction = random_direction(tiny, Site("resid_post", 1))
    hooks = count_hooks(tiny)
    told = stream(tiny, PROMPTS, [Cell(), direction], n_new=20)
    assert len(list(islice(told, 5))) == 5
    assert count_hooks(tiny) == hooks
    plain = generate(tiny, PROMPTS[0], n_new=5)  # the model is free between two tokens
    told.close()
    assert generate(tiny, PROMPTS[0], n_new=5) == plain
    assert count_hooks(tiny) == hooks


def test_a_stream_under_steer_is_steered(tiny):
    direction = random_direction(tiny, Site("resid_post", 1))
    with steer(tiny, Steering(direction, 3.0)):
        told = joined(stream(tiny, PROMPTS, n_new=5))
    [expected] = generate(tiny, PROMPTS, [Steering(direction, 3.0)], n_new=5)
    assert [told[0, p, 0].tokens for p in range(len(PROMPTS))] == [c.tokens for c in expected]


def test_prompting_and_samples_stream_as_they_are_generated(microworld):
    cells = [Cell(), Cell(Prompting("Be joyful."))]
    sampler, prompt = Sample(1.0, seed=2), ["Mia was at the harbour late."]
    told = joined(stream(microworld, prompt, cells, n_new=9, sampler=sampler, samples=2))
    expected = generate(microworld, prompt, cells, n_new=9, sampler=sampler, samples=2)
    for (cell, _, sample), found in told.items():
        assert found.tokens == expected[cell][sample].tokens
        assert found.text == expected[cell][sample].text


def test_what_a_stream_cannot_do_is_said_before_the_first_token(tiny):
    foreign = random_direction(tiny, Site("resid_post", 1))
    foreign = type(foreign)(
        foreign.site, foreign.unit, foreign.scale, "random", origin(fingerprint="f" * 64)
    )
    with pytest.raises(VectorMismatchError):
        stream(tiny, PROMPTS, [foreign], n_new=3)
    with pytest.raises(PromptTooLongError):
        stream(tiny, PROMPTS, n_new=100)
    with pytest.raises(BadValueError, match="n_new is 0"):
        stream(tiny, PROMPTS, n_new=0)
    with pytest.raises(BadValueError, match="all the same"):
        stream(tiny, PROMPTS, n_new=3, samples=2)
    huge = random_direction(tiny, Site("resid_post", 1), natural=1e38)
    with pytest.raises(NotFiniteError, match="under the condition method=random"):
        list(stream(tiny, PROMPTS, [Steering(huge, 30.0)], n_new=3))
