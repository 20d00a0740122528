"""A finite grammar whose rule weights depend on hidden variables, with exact probabilities.

Every quantity is a vector over all joint values of the hidden variables, so one pass over a
sentence gives its probability under each of them and the sum over the hidden variables is a dot
product. `rules.py` fills it with words.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, product
from random import Random

import numpy as np
from jaxtyping import Float64

_WORD = re.compile(r"[A-Za-z]+|[.,!\"]|[^\sA-Za-z.,!\"]+")
_SLOT = re.compile(r"\{(\w+)\}")

FAVOUR = 3.0  # a likelihood ratio from which evidence counts

Vector = Float64[np.ndarray, " hidden"]


@dataclass(frozen=True)
class Option:
    """One right-hand side of a rule: `symbols` are words, or slots written as `{rule}`."""

    symbols: tuple[str, ...]
    weight: float = 1.0
    when: Mapping[str, str] = field(default_factory=dict)


def option(text: str, *, weight: float = 1.0, when: Mapping[str, str] | None = None) -> Option:
    """The option that a line of text with `{slots}` describes; `when` are the hidden values it needs."""
    return Option(tuple(text.split()), weight, when or {})


def to_words(text: str) -> list[str]:
    """Words and punctuation marks of a text, each an item."""
    return _WORD.findall(text)


def to_text(items: Sequence[str]) -> str:
    """The written form of a list of words: inverse of `to_words` for sentences of the grammar."""
    pieces: list[str] = []
    quoted = glue = False
    for item in items:
        closes = item in {".", ",", "!"} or (item == '"' and quoted)
        pieces.append(item if closes or glue or not pieces else " " + item)
        glue = item == '"' and not quoted
        if item == '"':
            quoted = not quoted
    return "".join(pieces)


class Grammar:
    """Rules without recursion, weighted by hidden variables with independent uniform priors."""

    def __init__(
        self, variables: Mapping[str, tuple[str, ...]], rules: Mapping[str, tuple[Option, ...]]
    ) -> None:
        self.variables = dict(variables)
        self.rules = dict(rules)
        self.hidden = tuple(
            dict(zip(self.variables, values, strict=True))
            for values in product(*self.variables.values())
        )
        self._probabilities = {name: self._weigh(options) for name, options in self.rules.items()}
        self._cumulative: dict[tuple[str, int], list[float]] = {}
        self._longest: dict[str, int] = {}

    def index(self, hidden: Mapping[str, str]) -> int:
        """Row of one joint value of the hidden variables in every vector of this grammar."""
        return self.hidden.index(dict(hidden))

    def _weigh(self, options: tuple[Option, ...]) -> Float64[np.ndarray, "option hidden"]:
        weights = np.array(
            [
                [o.weight * all(h[k] == v for k, v in o.when.items()) for h in self.hidden]
                for o in options
            ]
        )
        total = weights.sum(axis=0)
        return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)

    def sample(self, rule: str, hidden: int, rng: Random) -> list[str]:
        """Words drawn from `rule` at one hidden value; each choice takes one number from `rng`."""
        key = (rule, hidden)
        if key not in self._cumulative:
            self._cumulative[key] = list(accumulate(self._probabilities[rule][:, hidden]))
        cumulative = self._cumulative[key]
        chosen = bisect_right(cumulative, rng.random() * cumulative[-1])
        out: list[str] = []
        for symbol in self.rules[rule][min(chosen, len(cumulative) - 1)].symbols:
            slot = _SLOT.fullmatch(symbol)
            if slot:
                out.extend(self.sample(slot[1], hidden, rng))
            else:
                out.append(symbol)
        return out

    def inside(self, rule: str, items: Sequence[str]) -> Vector:
        """P(items | rule, hidden) for every hidden value, summed over all derivations."""
        ends = self._spans(rule, tuple(items), 0, {})
        return ends.get(len(items), np.zeros(len(self.hidden)))

    def _spans(
        self,
        rule: str,
        items: tuple[str, ...],
        start: int,
        memo: dict[tuple[str, int], dict[int, Vector]],
    ) -> dict[int, Vector]:
        """For each end: P(rule derives items[start:end] | hidden)."""
        if (rule, start) in memo:
            return memo[rule, start]
        found: dict[int, Vector] = {}
        word = items[start] if start < len(items) else ""
        for number in self._by_first_word[rule].get(word, ()):
            partial = {start: self._probabilities[rule][number]}
            for symbol in self.rules[rule][number].symbols:
                partial = self._advance(symbol, items, partial, memo)
                if not partial:
                    break
            for end, vector in partial.items():
                found[end] = found[end] + vector if end in found else vector
        memo[rule, start] = found
        return found

    def _advance(
        self,
        symbol: str,
        items: tuple[str, ...],
        partial: dict[int, Vector],
        memo: dict[tuple[str, int], dict[int, Vector]],
    ) -> dict[int, Vector]:
        slot = _SLOT.fullmatch(symbol)
        if not slot:
            return {
                at + 1: vector
                for at, vector in partial.items()
                if at < len(items) and items[at] == symbol
            }
        grown: dict[int, Vector] = {}
        for at, vector in partial.items():
            for end, step in self._spans(slot[1], items, at, memo).items():
                grown[end] = grown[end] + vector * step if end in grown else vector * step
        return grown

    @cached_property
    def _by_first_word(self) -> dict[str, dict[str, list[int]]]:
        """For each rule, the options that can start with a given word."""
        table: dict[str, dict[str, list[int]]] = {}

        def build(rule: str) -> dict[str, list[int]]:
            if rule not in table:
                starts: dict[str, list[int]] = {}
                for number, o in enumerate(self.rules[rule]):
                    slot = _SLOT.fullmatch(o.symbols[0])
                    for word in build(slot[1]) if slot else (o.symbols[0],):
                        starts.setdefault(word, []).append(number)
                table[rule] = starts
            return table[rule]

        for rule in self.rules:
            build(rule)
        return table

    @cached_property
    def word_weights(self) -> dict[str, Vector]:
        """For each word, how readily it is said under each hidden value.

        The probability of the options of a rule that hold the word, summed within the rule, and the
        largest over the rules.
        """
        weights: dict[str, np.ndarray] = {}
        for rule, options in self.rules.items():
            within: dict[str, np.ndarray] = {}
            for number, o in enumerate(options):
                for symbol in {s for s in o.symbols if not _SLOT.fullmatch(s)}:
                    within[symbol] = within.get(symbol, 0.0) + self._probabilities[rule][number]
            for symbol, total in within.items():
                weights[symbol] = np.maximum(weights.get(symbol, 0.0), total)
        return weights

    @cached_property
    def has_value(self) -> dict[str, Float64[np.ndarray, "value hidden"]]:
        """For each variable, which joint values of the hidden variables have each of its values."""
        return {
            variable: np.array([[float(h[variable] == v) for h in self.hidden] for v in values])
            for variable, values in self.variables.items()
        }

    def favoured_value(self, variable: str, weights: Vector) -> str | None:
        """The value of `variable` whose mean weight is at least three times any other's, or None."""
        totals = self.has_value[variable] @ weights
        best, second = np.argsort(-totals, kind="stable")[:2]
        favoured = totals[best] > 0 and totals[best] >= FAVOUR * totals[second]
        return self.variables[variable][best] if favoured else None

    def longest(self, rule: str) -> int:
        """Number of words of the longest text that `rule` can derive."""
        if rule not in self._longest:
            slots = [[_SLOT.fullmatch(symbol) for symbol in o.symbols] for o in self.rules[rule]]
            self._longest[rule] = max(
                sum(self.longest(slot[1]) if slot else 1 for slot in option) for option in slots
            )
        return self._longest[rule]


def logsumexp(values: Vector) -> float:
    """Log Σ exp(values), -inf where all are."""
    top = float(np.max(values))
    return top if math.isinf(top) else top + math.log(float(np.exp(values - top).sum()))
