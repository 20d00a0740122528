"""Crossed pairs: a beginning in one class, continued in either.

A model told in one class goes on in it, whatever a bare preference between whole texts says. A
technique that is to turn a text round has to be trained, and its validation done, where there is
something to turn.
"""

from __future__ import annotations

from dataclasses import replace

from steerscope.errors import ContrastError
from steerscope.texts.contrasts import ContrastPair, ContrastSet


def crossed(contrasts: ContrastSet) -> ContrastSet:
    """Each pair whose texts align, twice: begun as the negative text, and begun as the positive one.

    Texts align if they have equally many words and differ in at least two of them. The two texts of
    a crossed pair share their beginning up to half of the words that differ.

    Raises:
        ContrastError: no pair aligns.
    """
    found = []
    for pair in contrasts.pairs:
        positive, negative = pair.positive.split(" "), pair.negative.split(" ")
        places = [i for i, (a, b) in enumerate(zip(positive, negative, strict=False)) if a != b]
        if len(positive) != len(negative) or len(places) < 2:
            continue
        cut = places[len(places) // 2]
        for begun in (negative, positive):
            one, other = (" ".join(begun[:cut] + rest[cut:]) for rest in (positive, negative))
            found.append(ContrastPair(one, other, pair.concept))
    if not found:
        raise ContrastError(
            f"no pair of {contrasts.name!r} can be crossed: their texts differ in their number of "
            "words, or in one word alone; train on the pairs as they are."
        )
    return replace(contrasts, name=f"{contrasts.name} crossed", pairs=tuple(found))
