"""Text classifiers of transformers, which judges read texts with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import transformers as hf
from jaxtyping import Float

from steerscope.models.checkpoints import check_whole

_MULTI = "multi_label_classification"
_NO_LIMIT = 10**9  # tokens: what a tokenizer says that knows no limit is larger


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
        """Probability of each label for each text; a longer one is cut where its context ends.

        Those of one text sum to 1, but where several labels may be true at once: then each is the
        probability that this one is. Without a token for padding texts are read one by one.
        """
        config = self.model.config
        padded = None not in (self.tokenizer.pad_token, getattr(config, "pad_token_id", None))
        batches = [texts] if padded else [[text] for text in texts]
        logits = torch.cat([self._logits(batch) for batch in batches])
        each = len(self.labels) == 1 or config.problem_type == _MULTI
        return logits.sigmoid() if each else logits.softmax(-1)

    def _logits(self, texts: list[str]) -> Float[torch.Tensor, "text label"]:
        longest = self.context
        read = self.tokenizer(
            texts,
            return_tensors="pt",
            padding=len(texts) > 1,
            truncation=longest is not None,
            max_length=longest,
        )
        with torch.inference_mode():
            return self.model(**read).logits.double()

    @cached_property
    def context(self) -> int | None:
        """Tokens that a text may have; None where neither the tokenizer nor the model names a limit."""
        named = [
            self.tokenizer.model_max_length,
            getattr(self.model.config, "max_position_embeddings", None),
            *_positions(self.model),
        ]
        known = [int(n) for n in named if n is not None and 0 < n < _NO_LIMIT]
        return min(known, default=None)


def _positions(model: Any) -> list[int]:
    """Learnt positions that a token can have; those of a model such as RoBERTa begin behind that of padding."""
    return [
        part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
        for name, part in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(part, torch.nn.Embedding)
    ]


def load_text_classifier(name: str) -> TextClassifier:
    """A classifier by folder or hub name; none of its own code is run.

    Raises:
        ModelLoadError: the checkpoint lacks weights of the classifier, which would be random, such as
            those of a model that was not trained to classify.
    """
    model, told = hf.AutoModelForSequenceClassification.from_pretrained(
        name,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that they are told and not printed
    )
    # What it does not use, such as the pooler of some, changes no probability.
    check_whole(type(model).__name__, {**told, "unexpected_keys": ()})
    tokenizer = hf.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    named = model.config.id2label
    labels = tuple(str(named[i]) for i in range(model.config.num_labels))
    return TextClassifier(labels, model.eval(), tokenizer)
