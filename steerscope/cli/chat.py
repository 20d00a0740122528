"""The command that talks to a steered model in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from steerscope.cli.keys import DOWN, UP, keys_of_terminal, read_line
from steerscope.cli.options import Drawing, Loading, Vectors, Writing, grouped
from steerscope.cli.shared import Model, refuse_unused, say, say_aside
from steerscope.cli.visible import visible
from steerscope.errors import SteerscopeError
from steerscope.texts.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    from steerscope.cli.talking import Talk
    from steerscope.engine.streaming import Token


@grouped
def chat(
    *,
    model: Model = DEFAULT_MODEL,
    vectors: Vectors,
    dose: Annotated[
        float | None, typer.Option(help="of the first vector, in natural units; default 1")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="the plain answer as well")] = False,
    writing: Writing,
    drawing: Drawing,
    loading: Loading,
) -> None:
    """Talk to a steered model: /dose, /vector, /compare, /save; /help says more.

    Examples:
        steerscope chat --find joyful=mood@resid_post.5 --dose 3 --compare
    """
    from steerscope.cli.talking import Talk
    from steerscope.serve.shelf import Shelf

    several = None if drawing.samples == 1 else drawing.samples
    refuse_unused({"samples": several}, "an answer is drawn once")
    sampler = drawing.sampler(writing)
    loaded, shelf = loading.load(model), Shelf()
    vectors.put(shelf, loaded, model)
    first = next((v.name for v in shelf), None)
    if first is None:
        refuse_unused({"dose": dose}, "there is no vector (--vector, --find)")
    amount = 1.0 if dose is None else dose
    talk = Talk(loaded, shelf, sampler, writing.n_new, vector=first, dose=amount, compare=compare)
    talk.cell()  # refuses what does not go together before anything is typed
    kind = "chat" if talk.has_template else "no chat template: it goes on with what you write"
    names = ", ".join(v.name for v in shelf) or "none"
    say_aside(
        f"{loaded.name} ({kind}), vectors: {names}. /help says what can be done, /quit leaves."
    )
    for line in _lines(talk):
        if line.strip():
            _do(talk, line.strip())
        if talk.is_over:
            return


def _lines(talk: Talk) -> Iterator[str]:
    """What is typed, a line at a time; in a terminal the arrows turn the dose."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\n") for line in sys.stdin)
        return

    def pressed(key: str) -> None:
        talk.turn({UP: 1, DOWN: -1}.get(key, 0))

    with keys_of_terminal() as keys:  # while an answer is written, Ctrl-C stops it as usual
        stopped = False
        while True:
            try:
                with keys.reading() as read:
                    line = read_line(lambda: f"[{talk.shown}] > ", pressed, read)
            except KeyboardInterrupt:
                if stopped:
                    raise
                stopped = True  # two quick ones that stop an answer do not end the talk
                say_aside("\nCtrl-C once more leaves, as does /quit.")
                continue
            if line is None:
                return
            stopped = False
            yield line


def _do(talk: Talk, line: str) -> None:
    """One command or one message; what is wrong with it is said, and the talk goes on."""
    try:
        if line.startswith("/"):
            if said := talk.command(line):
                say(said)
        else:
            _answer(talk, line)
    except SteerscopeError as error:
        say_aside(f"error: {error}")
    except KeyboardInterrupt:
        say("")
        say_aside("stopped.")


def _answer(talk: Talk, line: str) -> None:
    with closing(talk.answers(line)) as tokens:  # one that is stopped is kept as far as it came
        if not talk.compare:
            for token in tokens:
                sys.stdout.write(visible(token.text))
                sys.stdout.flush()
            say("")
        elif sys.stdout.isatty():
            _side_by_side(talk, tokens)
        else:
            words = ["", ""]
            for token in tokens:
                words[token.cell] += token.text
            say(f"plain: {words[1]}")
            say(f"{talk.shown}: {words[0]}")


def _side_by_side(talk: Talk, tokens: Iterator[Token]) -> None:
    """Two answers in two columns that grow."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    words = ["", ""]

    def drawn() -> Table:
        table = Table("plain", talk.shown, expand=True)
        table.add_row(Text(visible(words[1])), Text(visible(words[0])))
        return table

    with Live(drawn(), console=Console(), refresh_per_second=12) as live:
        for token in tokens:
            words[token.cell] += token.text
            live.update(drawn())
