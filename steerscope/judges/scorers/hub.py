"""A text classifier of transformers as a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from steerscope.errors import JudgeError, reason
from steerscope.models.text_classifiers import load_text_classifier

_AT_ONCE = 16


@dataclass(frozen=True)
class HubClassifier:
    """Probability of one label by a text classifier of transformers.

    Attributes:
        model: folder or hub name.
        label: the label that shows the concept; its last one if none is named.
        threshold: a probability.
    """

    model: str
    label: str = ""
    threshold: float = 0.5

    @property
    def words(self) -> str:
        """What the score is."""
        return f"probability of {self.label or 'the last label'} by {self.model}"

    def scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """The probability of the label for each text.

        Raises:
            JudgeError: the classifier cannot be loaded, has no such label, or cannot read a text.
        """
        classify = _loaded(self.model)
        label = self.label or classify.labels[-1]
        if label not in classify.labels:
            raise JudgeError(
                f"{self.model} has no label {label!r}; it has {', '.join(classify.labels)}."
            )
        place = classify.labels.index(label)
        found: list[float] = []
        for start in range(0, len(texts), _AT_ONCE):
            rows = self._probabilities(classify, list(texts[start : start + _AT_ONCE]))
            found += [float(row[place]) for row in rows]
        return found

    def _probabilities(self, classify: Any, texts: list[str]) -> Any:
        try:
            return classify.probabilities(texts)
        except Exception as error:  # noqa: BLE001 - as in loading
            raise JudgeError(
                f"the text classifier {self.model} cannot read {texts[0][:40]!r} or one after it "
                f"({reason(error)[:120]})."
            ) from None


@lru_cache(maxsize=2)
def _loaded(model: str) -> Any:
    try:
        return load_text_classifier(model)
    except Exception as error:  # noqa: BLE001 - transformers fails in many ways
        raise JudgeError(
            f"cannot load the text classifier {model} ({reason(error)[:120]})."
        ) from None
