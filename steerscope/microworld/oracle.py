"""The oracle of the microworld: samples stories, reads any text back, gives exact probabilities.

A story is one opening sentence, a number of body sentences and one closing sentence, all
conditionally independent given four hidden variables (mood, register, topic, protagonist) with
independent uniform priors. Every sentence ends with the only full stop in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from jaxtyping import Float64

from steerscope.microworld.grammar import logsumexp, to_text, to_words
from steerscope.microworld.rules import (
    END_HAZARD,
    MAX_BODY,
    MIN_BODY,
    VARIABLES,
    microworld_grammar,
)

_KINDS = ("open", "body", "close")


@dataclass(frozen=True)
class Story:
    """A sampled text with the hidden values that produced it."""

    text: str
    hidden: Mapping[str, str]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """What the oracle reads in a text; None where the text does not tell.

    `grammatical` is the fraction of complete sentences that the grammar can produce under some
    hidden value: a sentence that mixes two topics is not one of them. It is NaN for a text that
    ends before its first sentence could have.
    """

    mood: str | None
    register: str | None
    topic: str | None
    protagonist: str | None
    grammatical: float
    n_sentences: int

    def value(self, variable: str) -> str | None:
        """The value read for one hidden variable."""
        return getattr(self, variable)


def body_length_probabilities(register: str) -> dict[int, float]:
    """P(number of body sentences): at least the minimum, then stopping with a constant hazard."""
    low, high = MIN_BODY[register], MAX_BODY[register]
    going = {n: (1 - END_HAZARD) ** (n - low) for n in range(low, high + 1)}
    return {n: p * (END_HAZARD if n < high else 1.0) for n, p in going.items()}


def sample_story(rng: Random, fixed: Mapping[str, str] | None = None) -> Story:
    """A story drawn from the grammar, with any hidden variable held at a value.

    Two calls with equal `rng` states that differ in the mood or topic alone make the same choices,
    so the two stories differ in their mood or topic words alone.

    Raises:
        ValueError: a hidden variable or value that does not exist.
    """
    for variable, value in (fixed or {}).items():
        if value not in VARIABLES.get(variable, ()):
            known = {name: list(values) for name, values in VARIABLES.items()}
            raise ValueError(f"no hidden variable {variable}={value!r}; known: {known}")
    hidden = {name: rng.choice(values) for name, values in VARIABLES.items()} | dict(fixed or {})
    grammar = microworld_grammar()
    at = grammar.index(hidden)
    counts, weights = zip(*body_length_probabilities(hidden["register"]).items(), strict=True)
    (n_body,) = rng.choices(counts, weights)
    rules = ["open", *["body"] * n_body, "close"]
    sentences = tuple(to_text(grammar.sample(rule, at, rng)) for rule in rules)
    return Story(" ".join(sentences), hidden, sentences)


def split_sentences(text: str) -> tuple[list[str], str]:
    """The complete sentences of a text, and what follows the last full stop."""
    *complete, rest = text.split(".")
    return [s.strip() + "." for s in complete], rest.strip()


@lru_cache(maxsize=200_000)
def _sentence_probabilities(sentence: str, kind: str) -> Float64[np.ndarray, " hidden"]:
    items = to_words(sentence)
    if to_text(items) != sentence:  # spacing is part of the language
        return np.zeros(len(microworld_grammar().hidden))
    return microworld_grammar().inside(kind, items)


def log_joint(text: str, *, complete: bool = True) -> Float64[np.ndarray, " hidden"]:
    """Log P(text, hidden), natural log, for every joint value of the hidden variables.

    With `complete` the text is a whole story; otherwise it is the start of one that goes on with at
    least a closing sentence, cut after a full stop.
    """
    grammar = microworld_grammar()
    sentences, rest = split_sentences(text)
    n = len(grammar.hidden)
    if rest or not sentences or (complete and len(sentences) < 2):
        return np.full(n, -np.inf)
    last = "close" if complete else "body"
    kinds = ["open", *["body"] * (len(sentences) - 2), last][: len(sentences)]
    n_body = kinds.count("body")
    with np.errstate(divide="ignore"):
        total = np.full(n, -np.log(n))
        for sentence, kind in zip(sentences, kinds, strict=True):
            total = total + np.log(_sentence_probabilities(sentence, kind))
        lengths = {r: body_length_probabilities(r) for r in VARIABLES["register"]}
        p_length = {
            r: p.get(n_body, 0.0) if complete else sum(q for k, q in p.items() if k >= n_body)
            for r, p in lengths.items()
        }
        return total + np.log([p_length[h["register"]] for h in grammar.hidden])


def log_probability(text: str, *, complete: bool = True) -> float:
    """Log P(text) in nats, summed exactly over the hidden variables; -inf if it cannot occur."""
    return logsumexp(log_joint(text, complete=complete))


def posterior(opening: str, variable: str) -> dict[str, float]:
    """P(value | opening) of one hidden variable, for the complete first sentences of a story.

    All zero for an opening that the grammar cannot produce.
    """
    joint = log_joint(opening, complete=False)
    weights = np.exp(joint - joint.max()) if np.isfinite(joint).any() else np.zeros(len(joint))
    totals = microworld_grammar().has_value[variable] @ weights
    shares = totals / max(weights.sum(), 1e-300)
    return dict(zip(VARIABLES[variable], map(float, shares), strict=True))


def is_grammatical(sentence: str) -> bool:
    """Whether some hidden value can produce this sentence, in any place of a story."""
    return any(_sentence_probabilities(sentence, kind).any() for kind in _KINDS)


@lru_cache(maxsize=10_000)
def _word_votes(word: str) -> tuple[tuple[str, str], ...]:
    grammar = microworld_grammar()
    if word not in grammar.word_weights:
        return ()
    values = ((v, grammar.favoured_value(v, grammar.word_weights[word])) for v in VARIABLES)
    return tuple((variable, value) for variable, value in values if value is not None)


@lru_cache(maxsize=200_000)
def _sentence_votes(sentence: str) -> tuple[tuple[str, str], ...]:
    """One vote for each word that favours a value, and one if the sentence as a whole does."""
    grammar = microworld_grammar()
    votes = [vote for word in to_words(sentence) for vote in _word_votes(word)]
    weights = np.sum([_sentence_probabilities(sentence, kind) for kind in _KINDS], axis=0)
    if np.any(weights):
        values = ((v, grammar.favoured_value(v, weights)) for v in VARIABLES)
        votes += [(variable, value) for variable, value in values if value is not None]
    return tuple(votes)


def read(text: str) -> Reading:
    """Read mood, register, topic and protagonist back from a text that starts at a sentence.

    Each word that one value of a variable favours (likelihood ratio 3 over any other) is a vote for
    that value, and so is each sentence; the majority wins and a tie is None.
    """
    sentences, rest = split_sentences(text)
    votes: dict[str, Counter[str]] = {variable: Counter() for variable in VARIABLES}
    for sentence in (*sentences, rest):
        for variable, value in _sentence_votes(sentence):
            votes[variable][value] += 1
    longest = max(microworld_grammar().longest(kind) for kind in _KINDS)
    endless = not sentences and len(to_words(rest)) > longest
    judged = [is_grammatical(s) for s in sentences] + ([False] if endless else [])
    return Reading(
        **{variable: _majority(counts) for variable, counts in votes.items()},
        grammatical=float(np.mean(judged)) if judged else float("nan"),
        n_sentences=len(sentences),
    )


def _majority(counts: Counter[str]) -> str | None:
    top = counts.most_common(2)
    if not top or (len(top) == 2 and top[0][1] == top[1][1]):
        return None
    return top[0][0]
