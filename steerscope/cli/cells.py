"""Numbers in the tables of commands: what is not known is said to be, and never `nan`."""

from __future__ import annotations

import math

from steerscope.runs.digits import in_digits, with_ends

NOT_KNOWN, NONE = "not known", "-"


def number(value: float, form: str, missing: str = NOT_KNOWN) -> str:
    """A number in a format, or what is said where it is NaN."""
    return missing if math.isnan(value) else in_digits(value, form)


def estimate(value: float, low: float, high: float, form: str) -> str:
    """A number with its interval, as in `0.52 [0.41, 0.63]`, where both are known.

    With a sign it is a difference, and an end has the digits that show its side of zero.
    """
    if math.isnan(value) or math.isnan(low) or math.isnan(high):
        return number(value, form)
    return with_ends(value, low, high, form, (0.0,) if form.startswith("+") else ())


def p_value(p: float, form: str = ".2g") -> str:
    """A p; a dash where nothing was tested."""
    return number(p, form, NONE)
