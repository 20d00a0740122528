"""A line that is typed, with keys that act at once: arrows up and down."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

UP, DOWN = "\x1b[A", "\x1b[B"
_ENTER, _ERASE, _CANCEL, _END, _ESCAPE = "\r\n", "\x7f\x08", "\x03", "\x04", "\x1b"
_CLEAR_LINE = "\r\x1b[2K"


def read_line(
    shown: Callable[[], str], pressed: Callable[[str], None], read: Callable[[], str]
) -> str | None:
    """A line, whose beginning shows what keys have changed; None at the end of the input.

    Args:
        shown: what stands before the line, asked for again after a key.
        pressed: is told of an arrow, and of every other key that is no letter.
        read: the next character; empty at the end.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    typed = ""
    while True:
        sys.stderr.write(f"{_CLEAR_LINE}{shown()}{typed}")
        sys.stderr.flush()
        key = read()
        if key == _ESCAPE:
            key = _after_escape(read)
        if key.startswith(_ESCAPE):
            pressed(key)
        elif not key or (key == _END and not typed):
            return typed or None  # what stands there when the input ends is a line as well
        elif key in _CANCEL:
            raise KeyboardInterrupt
        elif key in _ENTER:
            sys.stderr.write("\n")
            return typed
        elif key in _ERASE:
            typed = typed[:-1]
        elif key.isprintable():
            typed += key


def _after_escape(read: Callable[[], str]) -> str:
    """A key of several characters, read to its end; a letter after Escape is that letter."""
    kind = read()
    if kind not in {"[", "O"}:
        return kind
    found = _ESCAPE + "["
    while letter := read():
        found += letter
        if "@" <= letter <= "~":
            break
    return found


class Keys:
    """The terminal while it is talked in: keys come one by one and are not shown by themselves.

    What is typed while an answer is written waits for the next line.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    @contextmanager
    def reading(self) -> Iterator[Callable[[], str]]:
        """While active, Ctrl-C is a key, so that a line is left and nothing else."""
        self.set(signals=False)
        try:
            yield self._character
        finally:
            self.set(signals=True)

    def set(self, *, signals: bool) -> None:
        """Have Ctrl-C stop what runs, or come as a key. Nothing that was typed is thrown away."""
        import termios

        settings = termios.tcgetattr(self._file)
        settings[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
        settings[3] |= termios.ISIG if signals else 0
        settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._file, termios.TCSADRAIN, settings)

    def _character(self) -> str:
        """The next character, whose bytes may be several; empty at the end and where the terminal is gone."""
        found = b""
        while len(found) < 4:
            try:
                more = os.read(self._file, 1)
            except OSError:
                return ""
            found += more
            if not more:
                return ""
            try:
                return found.decode()
            except UnicodeDecodeError:
                continue
        return "\ufffd"


@contextmanager
def keys_of_terminal() -> Iterator[Keys]:
    """The keys of a talk; the terminal is as it was afterwards."""
    import termios

    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    keys = Keys(file)
    try:
        keys.set(signals=True)
        yield keys
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
