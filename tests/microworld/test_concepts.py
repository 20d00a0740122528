"""Concepts of the microworld have labels that the oracle reads back."""

from __future__ import annotations

from steerscope.microworld.concepts import concept_sets, variable_of
from steerscope.microworld.oracle import read
from steerscope.microworld.rules import VARIABLES


def test_every_value_is_read_back_and_the_other_values_are_those_of_the_same_story():
    sets = concept_sets(5)
    assert len(sets) == sum(len(values) for values in VARIABLES.values())
    for name, found in sets.items():
        variable, value = name.split("=")
        assert variable_of(name) == variable
        assert len(found) == 5
        assert {read(pair.positive).value(variable) for pair in found.pairs} == {value}
    for i in range(5):
        told = [read(sets[f"topic={topic}"].pairs[i].positive) for topic in VARIABLES["topic"]]
        assert len({reading.register for reading in told}) == 1
        assert len({found.pairs[i].negative for found in sets.values()}) == 1


def test_neutral_stories_have_every_value_of_a_variable_and_are_no_positive_text():
    sets = concept_sets(30, variables=("mood",))
    neutral = [pair.negative for pair in sets["mood=joyful"].pairs]
    assert {read(text).register for text in neutral} == {"terse", "ornate"}
    positives = {pair.positive for found in sets.values() for pair in found.pairs}
    assert not positives & set(neutral)


def test_the_seed_decides_the_stories():
    first, again, other = (concept_sets(3, seed=s, variables=("topic",)) for s in (0, 0, 1))
    assert first == again
    assert first["topic=sea"].sha256 != other["topic=sea"].sha256
