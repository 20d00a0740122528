"""A language model that is asked about a text, graded by the probabilities of its answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from steerscope.errors import JudgeError
from steerscope.judges.labelled import LabelledText

SCALES: Mapping[str, Mapping[str, float]] = {
    "1-5": {str(n): float(n) for n in range(1, 6)},
    "yes-no": {"No": 0.0, "Yes": 1.0},
}
_EXAMPLES = 2  # of each class
_LONGEST = 1500  # characters of a text that are shown
_HOPELESS = 8  # answers of which none can be read


@dataclass(frozen=True)
class Answer:
    """What a language model said to a question.

    Attributes:
        chances: probability of each answer of the scale; empty where none was among those it gave.
        said: the beginning of its own words, for a message.
    """

    chances: Mapping[str, float]
    said: str = ""


class Answerer(Protocol):
    """A language model that can be asked."""

    def answers(self, questions: Sequence[str], scale: Sequence[str]) -> list[Answer]:
        """What it says to each question that ends in `Answer:`."""
        ...


@dataclass(frozen=True)
class LanguageModelJudge:
    """The expected answer of a language model that is asked how much a text shows a concept.

    score = Σ v p(v) / Σ p(v) over the answers v of a scale, so that a doubtful answer has a score in
    between. The model sees labelled texts of either class and the text, and neither the prompt nor
    the condition.

    Attributes:
        answerer: the language model.
        name: of it.
        scale: `1-5` or `yes-no`.
        concept: what a text is to show.
        examples: labelled texts that it is shown.
        threshold: None; labelled texts tell.

    Source: Liu et al. 2023 (G-Eval) for the weighing by probabilities.
    """

    answerer: Answerer
    name: str
    scale: str
    concept: str
    examples: tuple[LabelledText, ...]
    threshold: float | None = None

    @property
    def words(self) -> str:
        """What the score is."""
        return f"expected answer of {self.name} on the scale {self.scale}"

    @property
    def asked(self) -> str:
        """All that decides a score besides the text."""
        return f"lm:{self.name}={self.scale}\n{self.question('')}"

    def question(self, text: str) -> str:
        """What the language model reads."""
        values = SCALES[self.scale]
        low, *_, high = values
        asks = (
            f"from {low} (not at all) to {high} (entirely), how much it shows"
            if len(values) > 2
            else f"{high} or {low}, whether it shows"
        )
        shown = [(t.text, high if t.positive else low) for t in self.examples]
        blocks = [f"Text: {_clipped(said)}\nAnswer: {answer}" for said, answer in shown]
        head = f"Say of each text, {asks} this: {self.concept}. Answer with one word."
        return "\n\n".join([head, *blocks, f"Text: {_clipped(text)}\nAnswer:"])

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """The expected answer for each text; NaN where the model gave none of the scale.

        Raises:
            JudgeError: the model cannot be had or reached, or none of many answers can be read.
        """
        values = SCALES[self.scale]
        found = self.answerer.answers([self.question(text) for text in texts], list(values))
        scores = [expected(answer.chances, values) for answer in found]
        if len(scores) >= _HOPELESS and all(map(math.isnan, scores)):
            raise JudgeError(
                f"the judge {self.name} answered {found[0].said[:40]!r} and the like, and never "
                f"{' or '.join(values)}; take another model, or another scale."
            )
        return scores


def expected(chances: Mapping[str, float], values: Mapping[str, float]) -> float:
    """Σ v p(v) / Σ p(v); NaN where no answer has a chance."""
    total = sum(chances.values())
    if not total > 0:
        return math.nan
    return sum(values[name] * chance for name, chance in chances.items()) / total


def examples_of(fit: Sequence[LabelledText]) -> tuple[LabelledText, ...]:
    """A few labelled texts of each class, turn about, so that neither comes last twice."""
    sides = [[t for t in fit if t.positive is side][:_EXAMPLES] for side in (True, False)]
    pairs = zip(*sides, strict=False)
    return tuple(
        t for n, pair in enumerate(pairs) for t in (pair if n % 2 == 0 else reversed(pair))
    )


def _clipped(text: str) -> str:
    """A text on one line, cut where it is very long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " ..."
