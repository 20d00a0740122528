"""A classifier of texts that is trained on labelled ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from steerscope.judges.labelled import LabelledText


@dataclass(frozen=True)
class Classifier:
    """Log-odds of the concept by logistic regression on TF-IDF of words and pairs of words.

    Attributes:
        trained_on: the labelled texts; the same ones give the same classifier.
        threshold: 0, where both classes are as likely.
        reads_strange: whether a text of which it knows no word gets what it says of nothing, as in runs
            from before; else such a text is not read.
    """

    trained_on: tuple[LabelledText, ...]
    threshold: float = 0.0
    reads_strange: bool = False

    @property
    def words(self) -> str:
        """What the score is."""
        return "log-odds of the concept, in nats"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """The log-odds of each text; NaN for one without any word that it knows."""
        there = [any(map(str.isalnum, text)) for text in texts]
        if not any(there):
            return [float("nan")] * len(texts)
        trained = _trained(self.trained_on)
        found = trained.decision_function(list(texts))
        if not self.reads_strange:
            there = _knows(trained[0], texts)
        return [float(x) if known else float("nan") for x, known in zip(found, there, strict=True)]


def _knows(vectorizer: Any, texts: Sequence[str]) -> list[bool]:
    """Whether each text has a word that was in those trained on; a punctuation mark is none."""
    analyse, vocabulary = vectorizer.build_analyzer(), vectorizer.vocabulary_
    return [
        any(term in vocabulary and any(map(str.isalnum, term)) for term in analyse(text))
        for text in texts
    ]


@lru_cache(maxsize=4)
def _trained(texts: tuple[LabelledText, ...]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]"),
        LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"),
    )
    return pipeline.fit([t.text for t in texts], [t.positive for t in texts])
