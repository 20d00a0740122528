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
        pressed: is told of an arrow.
        read: the next character.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    typed = ""
    while True:
        sys.stderr.write(f"{_CLEAR_LINE}{shown()}{typed}")
        sys.stderr.flush()
        key = read()
        if key == _ESCAPE:
            key += read()
            key += read() if key[-1] in "[O" else ""
            pressed(key.replace("O", "[", 1))
        elif not key or (key == _END and not typed):
            return None
        elif key in _CANCEL:
            raise KeyboardInterrupt
        elif key in _ENTER:
            sys.stderr.write("\n")
            return typed
        elif key in _ERASE:
            typed = typed[:-1]
        elif key.isprintable():
            typed += key


@contextmanager
def keys_of_terminal() -> Iterator[Callable[[], str]]:
    """While active, keys come one by one; the terminal is as it was afterwards."""
    import termios
    import tty

    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    tty.setcbreak(file)
    settings = termios.tcgetattr(file)
    settings[3] &= ~termios.ISIG  # Ctrl-C comes as a key, so that a line is left and nothing else
    termios.tcsetattr(file, termios.TCSADRAIN, settings)
    try:
        yield lambda: _character(file)
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)


def _character(file: int) -> str:
    """The next character, whose bytes may be several."""
    found = os.read(file, 1)
    while found:
        try:
            return found.decode()
        except UnicodeDecodeError:
            more = os.read(file, 1)
            if not more or len(found) > 3:
                return ""
            found += more
    return ""
