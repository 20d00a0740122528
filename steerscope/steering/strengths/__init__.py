"""How much of a change is made, where and when: constants, schedules, gates and their products.

A strength gives the share s of the law x <- x + s (op(x) - x) for every row and position. It keeps
no state: all that it may look at is in the `Moment`, so a row gets the same share in any batch.

Schedules count the generated tokens of a row, the first being step 1, and leave the prompt at full
strength; a scope takes the prompt out. Gates look at activations of the pass in progress, or at the
keys of a row so far, each row and each token for itself.
"""

from __future__ import annotations

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.steering.strengths.gates import CosineGate, EigengapGate, Gate, ProjectionGate
from steerscope.steering.strengths.key_gap import KeyGapGate
from steerscope.steering.strengths.schedules import Decay, First, Pulse, Ramp, Schedule
from steerscope.steering.strengths.strength import Constant, Moment, Product, Strength, as_strength
from steerscope.texts.numbers import read_real

__all__ = [
    "STRENGTHS",
    "Constant",
    "CosineGate",
    "Decay",
    "EigengapGate",
    "First",
    "Gate",
    "KeyGapGate",
    "Moment",
    "Product",
    "ProjectionGate",
    "Pulse",
    "Ramp",
    "Schedule",
    "Strength",
    "as_strength",
    "parse_strength",
]

_LONGEST = 1000  # characters of a strength
STRENGTHS: dict[str, type[Strength]] = {
    kind.name: kind
    for kind in (
        Constant,
        Ramp,
        Decay,
        Pulse,
        First,
        CosineGate,
        ProjectionGate,
        EigengapGate,
        KeyGapGate,
    )
}


def parse_strength(text: str) -> Strength:
    """The strength written as `0.5`, `ramp:8`, `cosine:0.3:below` or `0.5*pulse:4:2`.

    Args:
        text: a share such as `0.5`, a schedule such as `ramp:8`, a gate such as `cosine:0.3`, or a
            product of them with `*`.

    Raises:
        UnknownNameError: a word is neither a number nor a strength.
        BadValueError: numbers are missing, out of range or not numbers.
    """
    if len(text) > _LONGEST:
        raise BadValueError(
            f"cannot read a strength of {len(text):,} characters; at most {_LONGEST:,} can be read."
        )
    factors = [_read_one(part.strip()) for part in text.split("*")]
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def _read_one(text: str) -> Strength:
    try:
        return Constant(read_real(text))
    except ValueError:
        name, *numbers = text.split(":")
    if name not in STRENGTHS:
        raise UnknownNameError("strength", text, STRENGTHS)
    return STRENGTHS[name].read(numbers)
