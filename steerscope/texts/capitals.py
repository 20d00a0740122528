"""Where a capital letter inside a sentence tells no name: in German, and in titles."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from steerscope.texts.words import words_in

# A word of an alphabet with capitals, neither the first nor behind a stop.
_INSIDE = regex.compile(r"(?<=[\w,] +)(?!I\b)[\p{Lu}\p{Ll}][\w'’]*")
_TITLE = 0.7  # of the words inside sentences that have a capital
_LONG_ENOUGH = 3  # words inside a sentence, by which a title is told from "Dear Tom"
# German writes every noun with a capital. English has up to one such word in seven, so that these words
# are needed too: "My name is Tom" has as many capitals as a German sentence.
_NOUNS = 0.1
_OF_GERMAN = 0.1  # of all words
_GERMAN = regex.compile(
    "(?:d(?:er|ie|as|en|em|es)|(?:ein|mein)(?:e[nmr]?)?|und|oder|aber|ist|sind|waren|wird|nicht|auch|ich|"
    "wir|ihr|sie|es|er|sich|mit|auf|für|von|vom|zu|zum|zur|im|wie|sehr|noch|als)"
)


def capitals_are_the_rule(texts: Sequence[str]) -> bool:
    """Whether words inside the sentences of these texts have capitals that make no name of them."""
    inside = [[w[0].isupper() for w in _INSIDE.findall(text)] for text in texts]
    long_ones = [capital for found in inside if len(found) >= _LONG_ENOUGH for capital in found]
    if long_ones and sum(long_ones) > _TITLE * len(long_ones):
        return True
    capitals = [capital for found in inside for capital in found]
    words = [word.lower() for text in texts for word in words_in(text)]
    german = sum(_GERMAN.fullmatch(word) is not None for word in words)
    return sum(capitals) > _NOUNS * len(capitals) and german > _OF_GERMAN * len(words)
