"""Styles: how to answer, as pairs of instructions that are crossed with neutral messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.texts.paraphrases import PARAPHRASES

_SIGN = "|"
_GAP = "\n\n"  # between instruction and message


@dataclass(frozen=True)
class Style:
    """A way to answer, as an instruction that asks for it and one that asks for something else.

    Where instructions differ in length, reading a mean that holds position 0 leaks the attention
    sink into the direction (`style_report` measures it); where many styles share what they are
    compared with, their directions share it too. So the built-in styles are compared each with an
    opposite of its own, in about as many words.

    Attributes:
        name: of the style.
        wanted: instruction that asks for the style.
        otherwise: instruction that does not.
        paraphrases: other wordings of the two, so that a wording can be held out.

    Raises:
        BadValueError: a text is empty, an instruction has an empty line in it, or the two
            instructions are the same.
    """

    name: str
    wanted: str
    otherwise: str
    paraphrases: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for wanted, otherwise in self.wordings:
            if not (self.name.strip() and wanted.strip() and otherwise.strip()):
                raise BadValueError(f"style {self.name!r} needs a name and two instructions.")
            if wanted == otherwise:
                raise BadValueError(f"style {self.name!r} has the same instruction twice.")
            if _GAP in wanted + otherwise:
                raise BadValueError(f"style {self.name!r} has an empty line in an instruction.")

    @property
    def wordings(self) -> tuple[tuple[str, str], ...]:
        """Every wording: what asks for the style, and what does not."""
        return ((self.wanted, self.otherwise), *self.paraphrases)

    def texts(self, messages: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The messages under either instruction, wanted first, the wordings in turn.

        A message comes under one wording alone, so that a split by wordings splits the messages too.
        """
        for message, (wanted, otherwise) in zip(messages, cycle(self.wordings), strict=False):
            yield f"{wanted}{_GAP}{message}", f"{otherwise}{_GAP}{message}"


STYLES: dict[str, Style] = {
    name: Style(name, *wordings[0], wordings[1:]) for name, wordings in PARAPHRASES.items()
}

MESSAGES: tuple[str, ...] = (
    "How do I keep bread fresh for a few days?",
    "Why does the moon change its shape?",
    "What should I pack for a weekend by the lake?",
    "How does a bicycle stay upright?",
    "What is a good time of year to plant tulips?",
    "Explain what a savings account is.",
    "How can I learn to cook rice properly?",
    "Why do leaves turn red in autumn?",
    "Tell me how a library decides which books to buy.",
    "What makes a violin sound different from a flute?",
    "How do I fold a shirt so that it does not crease?",
    "Why is the sea salty?",
    "What happens when a train changes tracks?",
    "How long should I let tea stand?",
    "Describe how a letter gets from one town to another.",
    "What do bees do in winter?",
    "How do I choose a pair of walking shoes?",
    "Why does ice float on water?",
    "What is the use of a calendar?",
    "How can two people share a garden fairly?",
    "Explain how a lock and a key work.",
    "What should I look at when I buy a used table?",
    "How do birds find their way home?",
    "Why do we sleep at night?",
)


def message_of(text: str) -> str:
    """The message of a text that `Style.texts` made, without the instruction; all of any other."""
    return text.split(_GAP, 1)[-1]


def find_style(text: str) -> Style:
    """A built-in style by name, or the user's own, written as `WANTED | OTHERWISE`.

    More wordings follow after `||`: `WANTED | OTHERWISE || WANTED | OTHERWISE`.

    Args:
        text: a built-in name such as `terse`, or `WANTED INSTRUCTION | OTHER INSTRUCTION`.

    Raises:
        UnknownNameError: neither; the message lists the built-in styles.
        BadValueError: an instruction is empty, or they are the same.
    """
    if _SIGN in text:
        first, *more = (_wording(part) for part in text.split(2 * _SIGN))
        return Style(first[0], *first, tuple(more))
    if text not in STYLES:
        raise UnknownNameError(
            f"style (your own is written as WANTED {_SIGN} OTHERWISE)", text, STYLES
        )
    return STYLES[text]


def _wording(text: str) -> tuple[str, str]:
    wanted, _, otherwise = (side.strip() for side in text.partition(_SIGN))
    return wanted, otherwise
