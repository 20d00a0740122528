"""What an answer says: the number it comes to, or the choice it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

# Digits in groups of three with a comma between them, or digits alone; a sign belongs to a number
# only where no letter or digit stands before it.
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212])?\s?[$€£]?\s?"
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)?(?P<part>\.[0-9]+)?(?P<percent>\s?%)?"
)
_MARKED = re.compile(r"(?:####|\\boxed\{|(?:final )?answer\s*(?:is|:))", re.IGNORECASE)
_FINAL = re.compile(r"final choice\s*:\s*[\"'*(]*\s*(?P<said>[^\s\"'*().,;:!]+)", re.IGNORECASE)


def numbers_in(text: str) -> list[Decimal]:
    """The numbers of a text in their order; `1,250.50` is one number, `3, 4` are two.

    Commas count only where they group three digits, so that lists stay apart.
    """
    found = []
    for match in _NUMBER.finditer(text):
        if match["whole"] is None and match["part"] is None:
            continue
        digits = (match["whole"] or "").replace(",", "") + (match["part"] or "")
        sign = "-" if match["sign"] in {"-", "\u2212"} else ""
        try:
            found.append(Decimal(sign + digits))
        except InvalidOperation:  # more digits than anyone counts
            continue
    return found


def number_of(text: str) -> Decimal | None:
    """The number that an answer comes to; None for none.

    The first behind the last mark of an answer (`####`, a LaTeX box, `answer is`, `answer:`) that has
    one behind it, else the last of the text.
    """
    for mark in reversed(list(_MARKED.finditer(text))):
        behind = numbers_in(text[mark.end() :])
        if behind:
            return behind[0]
    everywhere = numbers_in(text)
    return everywhere[-1] if everywhere else None


def same_number(answer: str, target: str) -> bool | None:
    """Whether an answer comes to the number of the target; None where the answer has no number.

    Raises:
        ValueError: the target has no number.
    """
    wanted = number_of(target)
    if wanted is None:
        raise ValueError(f"the target {target[:40]!r} holds no number")
    said = number_of(answer)
    return None if said is None else said == wanted


def final_choice(text: str, choices: Sequence[str]) -> str | None:
    """The choice behind the last `Final choice:`, whatever its case; None if it names none of them."""
    said = [match["said"].casefold() for match in _FINAL.finditer(text)]
    if not said:
        return None
    return next((c for c in choices if c.casefold() == said[-1]), None)
