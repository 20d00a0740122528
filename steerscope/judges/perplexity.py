"""Perplexity of texts by a sliding window, every token counted once and alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from steerscope.engine.score import log_likelihoods_under
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.progress import Track, silent
from steerscope.steering.interventions import Cell


@dataclass(frozen=True)
class Window:
    """Tokens `start` to `stop` of a text, of which those from `first` on are scored here."""

    start: int
    first: int
    stop: int


@dataclass(frozen=True, eq=False)
class TextNats:
    """How badly texts were predicted.

    Attributes:
        nats: -Σ log p of the scored tokens of each text under each condition.
        tokens: number of scored tokens of each text.
    """

    nats: Float[np.ndarray, "cell text"]
    tokens: Int[np.ndarray, " text"]

    @property
    def perplexity(self) -> Float[np.ndarray, " cell"]:
        """exp(Σ nats / Σ tokens) over all texts, so that each token weighs the same."""
        return np.exp(self.nats.sum(axis=1) / self.tokens.sum())


def sliding_windows(n_tokens: int, window: int, stride: int) -> list[Window]:
    """Windows that together score every token of a text once, each with as much context as fits.

    The first window scores all of its tokens, every later one its last `stride` or what is left.

    Raises:
        BadValueError: a stride below 1, or not below the window, so that tokens had no context.
    """
    if not 1 <= stride < window:
        raise BadValueError(
            f"stride {stride} must be at least 1 and below the window of {window} tokens."
        )
    found, scored = [], 0
    while scored < n_tokens:
        stop = min(n_tokens, window if not scored else scored + stride)
        found.append(Window(max(0, stop - window), scored, stop))
        scored = stop
    return found


def text_nats(
    model: LensModel,
    texts: Sequence[TextOrIds],
    cells: Sequence[Cell],
    *,
    window: int | None = None,
    stride: int | None = None,
    progress: Track = silent,
) -> TextNats:
    """Nats of texts of any length under conditions.

    Every window begins as the model's texts do, with a beginning-of-sequence token for example;
    without any the first token of a text is not scored, since nothing predicts it.

    Args:
        model: the model.
        texts: texts or token ids.
        cells: conditions; `Cell()` is the plain model.
        window: tokens in one pass, beginning of sequence included; default the model's context.
        stride: tokens that each window scores; default half a window.
        progress: shows the loop.

    Raises:
        BadValueError: no text with a token to score; a window beyond the context or that leaves no
            context.
    """
    window = window or model.shape.n_context
    if window > model.shape.n_context:
        raise BadValueError(
            f"a window of {window} tokens; {model.name} holds {model.shape.n_context}."
        )
    head = model.beginning
    ids = [_content(model, text) for text in texts]
    pieces, after, owner = [], [], []
    for number, tokens in enumerate(ids):
        for w in sliding_windows(len(tokens), window - len(head), stride or max(1, window // 2)):
            pieces.append([*head, *tokens[w.start : w.stop]])
            after.append(w.first - w.start + len(head))
            owner.append(number)
    counts = np.zeros(len(ids), dtype=int)
    nats = np.zeros((len(cells), len(ids)))
    scores = log_likelihoods_under(model, pieces, cells, after=after, progress=progress)
    for place, number in enumerate(owner):
        counts[number] += len(scores[0][place])
        nats[:, number] -= [float(row[place].double().sum()) for row in scores]
    if not counts.sum():
        raise BadValueError("there is no token to score; give texts of at least two tokens.")
    return TextNats(nats, counts)


def _content(model: LensModel, text: TextOrIds) -> list[int]:
    """The tokens of a text of any length, without a beginning of sequence."""
    head = model.beginning
    ids = model.vocabulary.bare(text) if isinstance(text, str) else [int(i) for i in text]
    return ids[len(head) :] if ids[: len(head)] == head else ids
