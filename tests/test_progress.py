"""A bar hands on what it is given, and says nothing where nobody looks."""

from __future__ import annotations

import io
import threading
import time

import pytest

from steerscope import progress


class Clock:
    """Seconds that pass only when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("items", [[3, 1, 2], (), iter([1, 2])])
def test_a_bar_yields_the_items_in_order_and_is_silent_off_a_terminal(items, capsys):
    given = list(items)
    assert list(progress.bar(iter(given), "reading")) == given
    assert capsys.readouterr() == ("", "")


def test_a_bar_tells_the_time_left_also_where_a_step_takes_minutes(monkeypatch):
    clock, shown = Clock(), io.StringIO()
    from rich.console import Console
    from rich.progress import Progress

    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(file=shown, force_terminal=True, width=80)
    )
    monkeypatch.setattr(
        progress,
        "Progress",
        lambda **kwargs: Progress(**kwargs, get_time=clock, auto_refresh=False),
    )
    for _ in progress.bar([1, 2, 3, 4], "measuring"):
        clock.now += 120.0
    assert "0:04:00" in shown.getvalue()  # two of four steps left


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(monkeypatch, caplog):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    with caplog.at_level("INFO", logger="steerscope"):
        for _ in progress.bar([1, 2, 3, 4], "measuring"):
            clock.now += 25.0
    assert caplog.messages == ["measuring: 3 of 4, about 25 s left"]


def test_an_item_that_takes_long_does_not_keep_the_others_waiting_for_a_line():
    said, before = [], threading.active_count()

    def work():
        for number in range(2):
            deadline = time.monotonic() + 30
            while len(said) <= number and time.monotonic() < deadline:
                time.sleep(0.01)
            yield number

    loop = progress._told(
        progress.Results(work(), 2, "texts", lambda _: 1), "x", said.append, every=0.05
    )
    assert list(loop) == [0, 1]
    assert said[0].startswith("x: 0 of 2 texts, ")
    assert said[0].endswith(" s so far")
    assert any(line.startswith("x: 1 of 2 texts, ") for line in said)
    assert threading.active_count() == before
    given_up = progress._told(iter([1, 2]), "y", said.append, every=60.0)
    next(given_up)
    given_up.close()
    assert threading.active_count() == before


def test_results_are_counted_by_what_they_hold_as_soon_as_they_come(monkeypatch, caplog):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)

    def coming():
        for size in (32, 32, 8):
            clock.now += 61.0
            yield size

    results = progress.Results(coming(), 72, "conditions", int)
    track = progress.in_steps(progress.bar, ("select", "test"))
    with caplog.at_level("INFO", logger="steerscope"):
        assert list(track(results, "measuring the test prompts")) == [32, 32, 8]
    assert caplog.messages == [
        "step 2 of 2: measuring the test prompts: 32 of 72 conditions, about 76 s left",
        "step 2 of 2: measuring the test prompts: 64 of 72 conditions, about 15 s left",
        "step 2 of 2: measuring the test prompts: 72 of 72 conditions, about 0 s left",
    ]
    assert list(track([1], "reading activations")) == [1]


def test_the_first_few_of_many_tell_no_time_left(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    said = []

    def coming():
        for size, seconds in ((1, 61.0), (19, 61.0), (20, 100.0)):
            clock.now += seconds
            yield size

    loop = progress._told(
        progress.Results(coming(), 40, "texts", int), "x", said.append, every=60.0
    )
    assert list(loop) == [1, 19, 20]
    assert said == [
        "x: 1 of 40 texts, 61 s so far",
        "x: 20 of 40 texts, about 2 min left",
        "x: 40 of 40 texts, about 0 s left",
    ]


def test_where_the_next_takes_longer_it_is_not_said_to_be_over_at_once():
    said = []

    def coming():
        for _ in range(2):
            time.sleep(0.01)
            yield 1
        deadline = time.monotonic() + 30
        while not any("so far" in line for line in said[2:]) and time.monotonic() < deadline:
            time.sleep(0.01)  # the third takes longer than the others did
        yield 1

    results = progress.Results(coming(), 3, "texts", int)
    assert list(progress._told(results, "x", said.append, every=0.005)) == [1, 1, 1]
    assert any(line.startswith("x: 2 of 3 texts, ") and line.endswith(" so far") for line in said)
