from __future__ import annotations

import pytest
import torch

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.scopes import Scope


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


@pytest.mark.parametrize(
    "text", ["all", "everywhere", "prompt", "generated", "last:3", "window:2:9", "window:4"]
)
def test_a_scope_is_read_back_from_its_name(text):
    assert str(Scope.parse(text)) == text


def test_arrays_and_one_prompt_length_a_row_give_the_same_as_numbers():
    grid = torch.arange(9)[None]
    lengths = torch.tensor([[5], [3]])
    for scope in (Scope.prompt(), Scope.generated(), Scope.last(2), Scope.window(2, 4)):
        inside = scope.includes(grid, lengths)
        for row, length in enumerate((5, 3)):
            mask = inside[row if inside.shape[0] > 1 else 0]
            assert mask.nonzero().flatten().tolist() == positions(scope, length)


@pytest.mark.parametrize("text", ["last", "last:x", "window", "window:1:2:3", "all:1", "last:0"])
def test_malformed_scopes_are_refused(text):
    with pytest.raises(BadValueError):
        Scope.parse(text)


def test_an_unknown_scope_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="everywhere, generated"):
        Scope.parse("suffix")


def test_an_empty_window_is_refused():
    with pytest.raises(BadValueError, match="empty"):
        Scope.window(4, 4)
