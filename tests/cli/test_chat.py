"""The chat in the terminal: answers as generate writes them, doses by key and by word, one model loaded once."""

from __future__ import annotations

import io
import json
import os
import re

import pytest

from steerscope.cli.keys import DOWN, UP, read_line
from steerscope.cli.talking import COMMANDS, Talk
from steerscope.directions import save_directions
from steerscope.directions.finding import find_directions
from steerscope.engine.gathering import gather
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Greedy
from steerscope.errors import BadValueError, OutputError, UnknownNameError
from steerscope.models import loading
from steerscope.serve.shelf import Shelf
from steerscope.steering.interventions import Steering
from steerscope.texts.contrasts import ContrastSet, load_contrasts

PROMPT = "Mia was at the harbour late."


@pytest.fixture(scope="module")
def direction(microworld):
    few = ContrastSet("mood", load_contrasts("mood").pairs[:8])
    [found] = find_directions(
        "mean_diff", gather(microworld, few, "resid_post.3", "mean_diff")
    ).values()
    return found


@pytest.fixture
def talk(microworld, direction):
    shelf = Shelf()
    shelf.put("joyful", [direction])
    return Talk(microworld, shelf, Greedy(), n_new=6, vector="joyful")


def said(talk, text):
    words = ["", ""]
    for token in talk.answers(text):
        words[token.cell] += token.text
    return words


def test_an_answer_is_what_generate_writes_under_the_condition(talk, direction, tmp_path):
    talk.command("/dose -2")
    talk.command("/compare")
    cells = [Steering(direction, -2.0), Steering(direction, 0.0)]
    steered, plain = (row[0].text for row in generate(talk.model, PROMPT, cells, n_new=6))
    assert said(talk, PROMPT) == [steered, plain]
    talk.command(f"/save {tmp_path / 'said.json'}")
    [entry] = json.loads((tmp_path / "said.json").read_text())["said"]
    assert (entry["answer"], entry["plain"]) == (steered, plain)
    assert entry["steering"] == "joyful -2 natural"


def test_commands_change_the_condition_or_leave_it_as_it_was(talk, tmp_path):
    assert talk.command("/dose +0.5") == "joyful +1.5 natural"
    assert talk.command("/dose 0.3 relative") == "joyful +0.3 relative"
    talk.turn(2)
    assert talk.shown == "joyful +0.8 relative"
    for wrong in ("/dose much", "/dose 1 miles", "/dose 1 kl", "/dose nan"):
        with pytest.raises(Exception, match="dose"):
            talk.command(wrong)
    for wrong in ("/vector nobody", "/site resid_post.7", "/nonsense"):
        with pytest.raises(UnknownNameError):
            talk.command(wrong)
    assert talk.shown == "joyful +0.8 relative"
    assert talk.command("/vector none") == "plain"
    mine = tmp_path / "mine.json"
    mine.write_text("[1]")
    with pytest.raises(OutputError):
        talk.command(f"/save {mine}")
    assert mine.read_text() == "[1]"
    with pytest.raises(BadValueError, match="FILE"):
        talk.command("/save")
    assert {f"/{name}" for name in COMMANDS} == set(re.findall(r"/[a-z]+", talk.command("/help")))
    with pytest.raises(UnknownNameError) as refused:
        talk.command("/leave")
    assert all(f"/{name}" in str(refused.value) for name in COMMANDS)


def test_arrows_act_at_once_and_letters_are_typed(capsys):
    pressed = []
    keys = iter([*"hx", "\x7f", *UP, *"i", *"\x1b[3~", *"\x1bOB", "é", "\x1b", "!", "\n"])
    line = read_line(lambda: f"{len(pressed)}> ", pressed.append, lambda: next(keys, ""))
    assert line == "hié!"
    assert pressed == [UP, "\x1b[3~", DOWN]
    assert "3> hié" in capsys.readouterr().err
    assert read_line(str, pressed.append, lambda: "\x04") is None
    cut = iter("/dose 2")
    assert read_line(str, pressed.append, lambda: next(cut, "")) == "/dose 2"
    with pytest.raises(KeyboardInterrupt):
        read_line(str, pressed.append, lambda: "\x03")


@pytest.fixture
def terminal(monkeypatch):
    """The other end of a terminal that the command reads from, as the person who types has it."""
    pty = pytest.importorskip("pty", reason="there are no terminals on this system")
    person, ours = pty.openpty()
    with open(ours, closefd=True) as stdin:  # noqa: PTH123 - a file descriptor
        monkeypatch.setattr("sys.stdin", stdin)
        yield person
    os.close(person)


def chat_in(terminal, microworld, direction, monkeypatch, tmp_path, run_cli, during):
    """A chat of one message, while whose answer something else happens."""
    monkeypatch.setattr(loading, "load_model", lambda *a, **k: microworld)
    save_directions(tmp_path / "joyful.safetensors", [direction])
    answers, talks = Talk.answers, []

    def watched(self, text):
        talks.append(self)
        for i, token in enumerate(answers(self, text)):
            if i == 2:
                during(len(talks))
            yield token

    monkeypatch.setattr(Talk, "answers", watched)
    os.write(terminal, f"{PROMPT}\n".encode())
    code, out, err = run_cli(
        "chat", "--n-new", 4, "--temperature", 0, "--vector", tmp_path / "joyful.safetensors"
    )
    return code, out.splitlines(), err, talks[0]


@pytest.mark.parametrize("leave", [b"/quit\n", b"\x04", b"/exit\nnever\n"])
def test_what_is_typed_while_an_answer_is_written_is_done_after_it(
    terminal, microworld, direction, monkeypatch, tmp_path, run_cli, leave
):
    typed = b"/dose 2\n/dose +0.5\n" + UP.encode() + b"/compare\n/wrong\n" + leave
    code, out, err, talk = chat_in(
        terminal, microworld, direction, monkeypatch, tmp_path, run_cli,
        lambda _: os.write(terminal, typed),
    )  # fmt: skip
    assert code == 0
    assert out[1:] == [
        "joyful +2 natural",
        "joyful +2.5 natural",
        "plain answers are shown as well.",
    ]
    assert "unknown command '/wrong'" in err
    assert talk.shown == "joyful +2.75 natural"
    [entry] = talk.said
    assert entry["answer"] == out[0]
    assert entry["steering"] == "joyful +1 natural"


def test_an_answer_that_is_stopped_is_kept_as_far_as_it_came_and_the_talk_goes_on(
    terminal, microworld, direction, monkeypatch, tmp_path, run_cli
):
    def during(answer):
        if answer == 1:
            os.write(terminal, b"\x03/dose 0\nIt rained.\n\x04")  # stopped twice, as people do
            raise KeyboardInterrupt

    code, out, err, talk = chat_in(
        terminal, microworld, direction, monkeypatch, tmp_path, run_cli, during
    )
    assert code == 0
    assert "stopped." in err
    first, second = talk.said
    assert first["stopped"]
    assert first["answer"]
    assert out[0] == first["answer"][: len(out[0])]
    assert "stopped" not in second
    assert (second["prompt"], second["steering"]) == ("It rained.", "joyful +0 natural")


def test_the_command_talks_and_goes_on_after_a_mistake(
    run_cli, monkeypatch, microworld, direction, tmp_path
):
    loads = []
    monkeypatch.setattr(loading, "load_model", lambda *a, **k: loads.append(a) or microworld)
    typed = f"{PROMPT}\n/vector nobody\n/dose 0\n{PROMPT}\n/quit\nnever\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    save_directions(tmp_path / "joyful.safetensors", [direction])
    code, out, err = run_cli(
        "chat", "--n-new", 3, "--temperature", 0, "--vector", tmp_path / "joyful.safetensors"
    )
    assert code == 0
    assert len(loads) == 1
    [[plain]] = generate(microworld, PROMPT, n_new=3)
    assert out.splitlines()[-1] == plain.text
    assert len(out.splitlines()) == 3
    assert "unknown vector 'nobody'" in err
