"""Numbers written as text: ASCII digits alone, and never more of them than a number here can have.

Python's own `int` and `float` also read `1_000`, digits of other scripts and numbers of any length.
"""

from __future__ import annotations

import math
import re

from steerscope.errors import BadValueError

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_REAL = re.compile(
    r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?", re.ASCII
)
_NO_NUMBER = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
LARGEST_SEED = 2**63 - 1


def read_whole(text: str) -> int:
    """A whole number of at most 19 digits.

    Raises:
        ValueError: it is none.
    """
    if not _WHOLE.fullmatch(text.strip(" ")):
        raise ValueError(f"{text!r} is no whole number of at most 19 digits 0-9")
    return int(text)


def read_real(text: str) -> float:
    """A number; the words `nan` and `inf` are read as well, for a check of the value to refuse.

    Raises:
        ValueError: it is none.
    """
    stripped = text.strip(" ")
    if not (_REAL.fullmatch(stripped) or _NO_NUMBER.fullmatch(stripped)):
        raise ValueError(f"{text!r} is no number of digits 0-9, such as 0.5, -2 or 1e-3")
    return float(stripped)


def check_seed(seed: int) -> None:
    """Refuse a seed that not every generator of random numbers takes.

    Raises:
        BadValueError: below 0 or beyond 2⁶³ - 1.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise BadValueError(f"seed {seed} is outside 0 to {LARGEST_SEED:,}; choose a smaller one.")


def check_temperature(temperature: float) -> None:
    """Refuse a temperature at which nothing can be drawn.

    Raises:
        BadValueError: below 0 or not finite; 0 stands for the most likely token.
    """
    if not 0 <= temperature < math.inf:
        raise BadValueError(
            f"temperature {temperature} must be a finite number from 0, the most likely token, up."
        )
