"""Numbers in digits that do not say another thing than the number: no minus at zero, and the right side of a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

_DIGITS, _NEAR = 10, 1e-9  # after the point at most; nearer than that a number is the threshold


def in_digits(value: float, form: str, thresholds: Sequence[float] = ()) -> str:
    """A number in a format, with more digits after the point where rounding hides its side of a threshold.

    Args:
        value: finite.
        form: as of `format`, such as `+.2f`.
        thresholds: to be above or below as the number is; more digits need a format that ends in f.
    """
    shown = without_negative_zero(f"{value:{form}}")
    if not form.endswith("f"):
        return shown
    sign, _, digits = form[:-1].rpartition(".")
    for more in range(int(digits) + 1, _DIGITS):
        if all(_side(float(shown.replace(",", "")), t) == _side(value, t) for t in thresholds):
            break
        shown = f"{value:{sign}.{more}f}"
    return shown


def edges_of(direction: str, threshold: float) -> tuple[float, ...]:
    """What the number of a test is held against: `within` has an edge on either side of zero, NaN has none."""
    if math.isnan(threshold):
        return ()
    return (-threshold, threshold) if direction == "within" else (threshold,)


def with_ends(
    value: float, low: float, high: float, form: str, thresholds: Sequence[float] = ()
) -> str:
    """A number with its interval, as in `0.52 [0.41, 0.63]`; all three finite."""
    said, *ends = (in_digits(x, form, thresholds) for x in (value, low, high))
    return f"{said} [{', '.join(ends)}]"


def without_negative_zero(text: str) -> str:
    """A number in digits, without a minus where all digits are zero."""
    bare = text.strip("%")
    return text.replace("-", "+" if "+" in text else "") if _is_zero(bare) else text


def _is_zero(text: str) -> bool:
    try:
        return float(text.replace(",", "")) == 0
    except ValueError:
        return False


def _side(value: float, threshold: float) -> float:
    is_there = math.isclose(value, threshold, rel_tol=_NEAR, abs_tol=_NEAR)
    return 0.0 if is_there else math.copysign(1.0, value - threshold)
