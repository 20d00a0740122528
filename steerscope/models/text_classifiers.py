"""Text classifiers of transformers, which judges read texts with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class TextClassifier:
    """A classifier with its tokenizer.

    Attributes:
        labels: its classes, in the order of its outputs.
    """

    labels: tuple[str, ...]
    model: Any
    tokenizer: Any

    def probabilities(self, texts: list[str]) -> Float[torch.Tensor, "text label"]:
        """Probability of each label for each text; a longer one is cut where its context ends."""
        read = self.tokenizer(texts, return_tensors="pt", padding=True, truncation=True)
        with torch.inference_mode():
            logits = self.model(**read).logits.double()
        return logits.softmax(-1) if len(self.labels) > 1 else logits.sigmoid()


def load_text_classifier(name: str) -> TextClassifier:
    """A classifier by folder or hub name; none of its own code is run."""
    model = hf.AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=False)
    tokenizer = hf.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    named = model.config.id2label
    labels = tuple(str(named[i]) for i in range(model.config.num_labels))
    return TextClassifier(labels, model.eval(), tokenizer)
