"""A classifier of texts that is trained on labelled ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from steerscope.judges.labelled import LabelledText
from steerscope.texts.words import words_and_signs


@dataclass(frozen=True)
class Classifier:
    """Log-odds of the concept by logistic regression on TF-IDF of words and pairs of words.

    Attributes:
        trained_on: the labelled texts; the same ones give the same classifier.
        threshold: 0, where both classes are as likely.
        reads_strange: whether a text that has no word of those trained on, and no mark that one class
            alone has, gets what it says of nothing, as in runs from before; else it is not read.
    """

    trained_on: tuple[LabelledText, ...]
    threshold: float = 0.0
    reads_strange: bool = False

    @property
    def words(self) -> str:
        """What the score is."""
        return "log-odds of the concept, in nats"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """The log-odds of each text; NaN for one that has nothing by which the classes could be told."""
        there = [any(map(str.isalnum, text)) for text in texts]
        if not any(there):
            return [float("nan")] * len(texts)
        trained = _trained(self.trained_on)
        found = trained.decision_function(list(texts))
        if not self.reads_strange:
            analyse, telling = trained[0].build_analyzer(), _telling(self.trained_on)
            there = [not telling.isdisjoint(analyse(text)) for text in texts]
        return [float(x) if known else float("nan") for x, known in zip(found, there, strict=True)]


@lru_cache(maxsize=4)
def _telling(texts: tuple[LabelledText, ...]) -> frozenset[str]:
    """The words of texts, and marks that those of one class alone have: a full stop tells nothing by itself."""
    analyse = _trained(texts)[0].build_analyzer()
    here, there = (
        {term for t in texts if t.positive is side for term in analyse(t.text)}
        for side in (True, False)
    )
    words = {term for term in here | there if any(map(str.isalnum, term))}
    return frozenset(words | (here ^ there))


@lru_cache(maxsize=4)
def _trained(texts: tuple[LabelledText, ...]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(
        TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, tokenizer=_words, token_pattern=None
        ),
        LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"),
    )
    return pipeline.fit([t.text for t in texts], [t.positive for t in texts])


def _words(text: str) -> list[str]:
    return [match[0] for match in words_and_signs(text)]
