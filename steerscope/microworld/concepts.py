"""Every value of every hidden variable as a concept, all against one set of neutral stories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from steerscope.microworld.oracle import Story, read, sample_story
from steerscope.microworld.rules import VARIABLES
from steerscope.texts.contrasts import ContrastPair, ContrastSet

_SENTENCES = 3  # of a story that are told


def concept_name(variable: str, value: str) -> str:
    """The name of one value of one hidden variable."""
    return f"{variable}={value}"


def variable_of(concept: str) -> str:
    """The hidden variable that a concept is a value of."""
    return concept.partition("=")[0]


def concept_sets(
    count: int, *, seed: int = 0, variables: Sequence[str] = tuple(VARIABLES)
) -> dict[str, ContrastSet]:
    """For each value of each variable, openings that have it against neutral openings.

    Pair i of every concept has one neutral story, whose hidden values are all drawn, and positive
    stories from one random stream, with all hidden values alike but the one that is set. The oracle
    reads the set value back in every positive text.

    Args:
        count: pairs of each concept.
        seed: another one gives other stories.
        variables: whose values are the concepts.
    """
    rng = Random(f"concepts {seed}")
    concepts = [(v, value) for v in variables for value in VARIABLES[v]]
    pairs: dict[str, list[ContrastPair]] = {concept_name(*c): [] for c in concepts}
    for neutral, stream, shared in _tellings(rng):
        told = {c: _opening(sample_story(Random(stream), {**shared, c[0]: c[1]})) for c in concepts}
        if all(read(text).value(v) == value for (v, value), text in told.items()):
            for c, text in told.items():
                name = concept_name(*c)
                pairs[name].append(ContrastPair(text, neutral, name))
            if all(len(found) == count for found in pairs.values()):
                break
    return {name: ContrastSet(name, tuple(found)) for name, found in pairs.items()}


def _tellings(rng: Random) -> Iterator[tuple[str, float, Mapping[str, str]]]:
    """Endlessly: a neutral opening, and the stream and hidden values of other stories."""
    while True:
        neutral = _opening(sample_story(Random(rng.random())))
        yield neutral, rng.random(), {v: rng.choice(values) for v, values in VARIABLES.items()}


def _opening(story: Story) -> str:
    """The first sentences, without the full stop that all stories share."""
    return " ".join(story.sentences[:_SENTENCES]).removesuffix(".")
