from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from steerscope.engine.score import kl_from_plain
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.scopes import Scope
from tests.helpers import random_direction


def positions(scope: Scope, prompt_length: int = 5, n: int = 9) -> list[int]:
    return [p for p in range(n) if scope.includes(p, prompt_length)]


def test_scopes_by_hand():
    assert positions(Scope.all()) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert positions(Scope.everywhere()) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert positions(Scope.prompt()) == [1, 2, 3, 4]
    assert positions(Scope.generated()) == [5, 6, 7, 8]
    assert positions(Scope.last(2)) == [3, 4]
    assert positions(Scope.last(9)) == [1, 2, 3, 4]
    assert positions(Scope.window(0, 3)) == [0, 1, 2]
    assert positions(Scope.window(7)) == [7, 8]
    assert positions(Scope.steps(1, 3)) == [5, 6]
    assert positions(Scope.steps(2)) == [6, 7, 8]


def test_scopes_compose_by_hand():
    assert positions(Scope.last(1) | Scope.window(7)) == [4, 7, 8]
    assert positions(Scope.prompt() | Scope.generated() - Scope.steps(2)) == [1, 2, 3, 4, 5]
    assert positions(Scope.everywhere() - Scope.all()) == [0]
    assert positions(Scope.window(2, 7) & Scope.generated()) == [5, 6]
    assert positions((Scope.prompt() | Scope.generated()) - Scope.last(3)) == [1, 5, 6, 7, 8]
    assert positions(Scope.all() - (Scope.prompt() - Scope.last(1))) == [4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "text",
    ["all", "everywhere", "prompt", "generated", "last:3", "window:2:9", "window:4"]
    + ["steps:3", "steps:1:9", "prompt|generated-last:3", "(prompt|generated)-last:3"]
    + [
        "all-(prompt-last:1)",
        "all&window:3|last:1|window:9",
        "(all|last:1)&prompt",
        "(all&last:1)-last:2",
    ]
    + ["all-prompt-last:2", "(all|prompt)&all-last:1-window:4"]
    + ["from_token:7", "after_token:7,8,7", "all-from_token:3|last:1", "prompt&from_token:0"],
)
def test_a_scope_is_read_back_from_its_name(text):
    scope = Scope.parse(text)
    assert str(scope) == text
    assert Scope.parse(str(scope)) == scope
    assert hash(Scope.parse(text)) == hash(scope)


def test_minus_binds_tighter_than_and_tighter_than_or_as_in_python():
    everything, late, prompt = Scope.all(), Scope.window(3), Scope.prompt()
    assert Scope.parse(" prompt | all - window:3 & prompt") == prompt | everything - late & prompt
    assert Scope.parse("((all))") == everything
    assert Scope.parse("from:4") == Scope.window(4)


TEXTS = torch.tensor([[1, 7, 8, 7, 7, 8, 9], [1, 8, 7, 9, 9, 7, 7], [1, 2, 3, 4, 5, 6, 2]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from_token:7", [[1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6], []]),
        ("after_token:7", [[2, 3, 4, 5, 6], [3, 4, 5, 6], []]),
        ("from_token:7,8", [[2, 3, 4, 5, 6], [], []]),  # from where the 8 stands
        ("from_token:7,7,8", [[5, 6], [], []]),
        ("after_token:7,7", [[5, 6], [], []]),
        ("from_token:9,9", [[], [4, 5, 6], []]),
        ("from_token:1", [[1, 2, 3, 4, 5, 6]] * 3),  # position 0 never
        ("from_token:1,2,3,4,5,6,2,9", [[], [], []]),  # longer than the text
        ("prompt & from_token:7", [[1, 2, 3, 4], [2, 3, 4], []]),
        ("generated - after_token:7", [[], [], [5, 6]]),
        ("last:1 | after_token:8,7", [[4, 5, 6], [3, 4, 5, 6], [4]]),
    ],
)
def test_scopes_that_begin_at_tokens_by_hand(text, expected):
    scope = Scope.parse(text)
    assert scope.reads_tokens
    inside = scope.given(TEXTS).includes(torch.arange(7)[None], 5).expand(3, 7)
    assert [row.nonzero().flatten().tolist() for row in inside] == expected


def test_what_follows_changes_nothing_before_it():
    for text in ("from_token:7", "after_token:7,8", "all-from_token:9,9", "after_token:7,7"):
        scope = Scope.parse(text)
        whole = scope.given(TEXTS).includes(torch.arange(7)[None], 5).expand(3, 7)
        for n in range(1, 8):
            part = scope.given(TEXTS[:, :n]).includes(torch.arange(n)[None], 5)
            assert torch.equal(part.expand(3, n), whole[:, :n]), (text, n)


def test_a_scope_that_begins_at_a_token_cannot_do_without_tokens():
    with pytest.raises(BadValueError, match="from_token:7 depends on the tokens"):
        Scope.from_token(7).includes(3, 5)
    for bad in ((), (3, -1)):
        with pytest.raises(BadValueError, match="at least one token id"):
            Scope.after_token(*bad)
    assert not (Scope.all() - Scope.last(2)).reads_tokens
    assert Scope.last(2).given(TEXTS) == Scope.last(2)


@pytest.mark.parametrize(
    "scope",
    ["from_token:96", "all-after_token:3,9500", "prompt|from_token:96", "last:1&from_token:96"],
)
def test_a_token_that_the_model_does_not_have_is_refused_and_its_last_is_not(tiny, scope):
    direction = random_direction(tiny, Site("resid_post", 0))
    for place in (scope, scope.replace("9500", "95").replace("96", "95")):
        cell = Cell((Steering(direction, scope=place, dose=2.0),))
        alone = steer(tiny, *cell.interventions)
        refused = place == scope
        with pytest.raises(BadValueError, match="no token") if refused else nullcontext(), alone:
            pass
        with pytest.raises(BadValueError, match="no token") if refused else nullcontext():
            kl_from_plain(tiny, [[1, 5, 9]], [cell, cell])


def test_arrays_and_one_prompt_length_a_row_give_the_same_as_numbers():
    grid = torch.arange(9)[None]
    lengths = torch.tensor([[5], [3]])
    scopes = [Scope.prompt(), Scope.generated(), Scope.last(2), Scope.window(2, 4), Scope.steps(2)]
    scopes += [scopes[0] | scopes[4], scopes[0] - scopes[2], scopes[1] & scopes[3]]
    for scope in scopes:
        inside = scope.includes(grid, lengths)
        for row, length in enumerate((5, 3)):
            mask = inside[row if inside.shape[0] > 1 else 0]
            assert mask.nonzero().flatten().tolist() == positions(scope, length)


@pytest.mark.parametrize(
    "text",
    ["last", "last:x", "window", "window:1:2:3", "all:1", "last:0", "steps:0", "steps:3:3", ""]
    + ["window:3:0", "window:0:0", "steps:2:0"]
    + ["from_token", "from_token:", "after_token:x", "from_token:3,", "from_token:3:4"]
    + ["all|", "-all", "(all", "all)", "()", "all all", "all|-prompt"],
)
def test_malformed_scopes_are_refused(text):
    with pytest.raises(BadValueError):
        Scope.parse(text)


def test_an_unknown_scope_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="everywhere, from_token, generated"):
        Scope.parse("suffix")


def test_an_empty_window_is_refused():
    with pytest.raises(BadValueError, match="empty"):
        Scope.window(4, 4)


@pytest.mark.parametrize("text", ["all", "everywhere", "prompt", "generated", "last:3"])
@pytest.mark.parametrize("more", ["", "|window:2", "&window:2", "-window:2:4"])
def test_what_holds_all_from_a_position_on_holds_each_of_them_for_every_prompt(text, more):
    scope = Scope.parse(text + more)
    for first in range(6):
        whole = all(scope.includes(p, n) for p in range(first, 30) for n in (1, 4, 9))
        assert whole or not scope.includes_all_from(first)


def test_plain_scopes_are_known_to_hold_all_later_positions():
    assert [Scope.all().includes_all_from(p) for p in (0, 1, 9)] == [False, True, True]
    assert Scope.everywhere().includes_all_from(0)
    assert [Scope.window(3).includes_all_from(p) for p in (2, 3)] == [False, True]
    assert not Scope.window(3, 99).includes_all_from(5)
    assert not Scope.steps(1).includes_all_from(9)  # as long as the prompt may be longer
