"""The answers of the API, whole and in pieces, as OpenAI's clients read them."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from steerscope.serve.worker import Piece, Told, Word


@dataclass
class Text:
    """A text as far as it is written.

    Attributes:
        words: what may be told of it.
        pieces: its tokens.
        over: why it is over; empty while it goes on.
        n_sent: letters of the tokens that a stream has told.
    """

    words: str = ""
    pieces: list[Piece] = field(default_factory=list)
    over: str = ""
    n_sent: int = 0


@dataclass(eq=False)
class Answer:
    """The answer to one request, which grows.

    Attributes:
        model: as the request names it.
        is_chat: whether it is a turn of a conversation.
        wants_tops: whether log-probabilities are told.
        facts: what steerscope adds, such as the seed.
    """

    model: str
    is_chat: bool
    wants_tops: bool
    facts: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    n_prompt: int = 0
    texts: dict[int, Text] = field(default_factory=dict)

    def take(self, news: Sequence[Told]) -> None:
        """Add what was written."""
        for told in news:
            text = self.texts.setdefault(told.text, Text())
            text.words += told.words
            text.pieces += told.pieces
            text.over = text.over or told.over

    def whole(self) -> dict[str, Any]:
        """The answer at once."""
        choices = []
        for number, text in sorted(self.texts.items()):
            choice: dict[str, Any] = {"index": number, "finish_reason": text.over}
            if self.is_chat:
                choice["message"] = {"role": "assistant", "content": text.words}
            else:
                choice["text"] = text.words
            choice["logprobs"] = self._log_probs(text.pieces) if self.wants_tops else None
            choice["token_ids"] = [piece.id for piece in text.pieces]
            choices.append(choice)
        kind = "chat.completion" if self.is_chat else "text_completion"
        return self._head(kind) | {
            "choices": choices,
            "usage": self.usage(),
            "steerscope": self.facts,
        }

    def begun(self, n_texts: int) -> list[dict[str, Any]]:
        """What a stream of a conversation begins with: who speaks."""
        if not self.is_chat:
            return []
        said = {"role": "assistant", "content": ""}
        return [self._chunk({"index": i, "delta": said}) for i in range(n_texts)]

    def chunks(self, news: Sequence[Told]) -> list[dict[str, Any]]:
        """What is new, a chunk for each text, and one that says that a text is over."""
        found = []
        for told in news:
            part: dict[str, Any] = {"index": told.text}
            part |= {"delta": {"content": told.words}} if self.is_chat else {"text": told.words}
            text = self.texts.setdefault(told.text, Text())
            part["logprobs"] = (
                self._log_probs(told.pieces, text.n_sent) if self.wants_tops else None
            )
            part["token_ids"] = [piece.id for piece in told.pieces]
            text.n_sent += sum(len(piece.word.label) for piece in told.pieces)
            if told.words or told.pieces:
                found.append(self._chunk(part))
            if told.over:
                empty: dict[str, Any] = {"delta": {}} if self.is_chat else {"text": ""}
                end = {"index": told.text, "finish_reason": told.over} | empty
                found.append(self._chunk(end) | {"steerscope": self.facts})
        return found

    def ended(self) -> dict[str, Any]:
        """The chunk at the end that says what was used."""
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        return self._head(kind) | {"choices": [], "usage": self.usage()}

    def usage(self) -> dict[str, int]:
        """Tokens read and written."""
        written = sum(len(text.pieces) for text in self.texts.values())
        return {
            "prompt_tokens": self.n_prompt,
            "completion_tokens": written,
            "total_tokens": self.n_prompt + written,
        }

    def _head(self, kind: str) -> dict[str, Any]:
        before = "chatcmpl-" if self.is_chat else "cmpl-"
        return {
            "id": before + self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "steerscope",
        }

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        usual = {"finish_reason": None, "logprobs": None}
        return self._head(kind) | {"choices": [usual | choice]}

    def _log_probs(self, pieces: Sequence[Piece], before: int = 0) -> dict[str, Any]:
        """What is told of tokens, behind so many letters of their text."""
        if self.is_chat:
            return {"content": [_chat_entry(piece) for piece in pieces], "refusal": None}
        words = [piece.word for piece in pieces]
        return {
            "tokens": [word.label for word in words],
            "token_logprobs": [_number(word.log_prob) for word in words],
            "top_logprobs": [
                {w.label: _number(w.log_prob) for w in piece.tops} for piece in pieces
            ],
            "text_offset": [*accumulate((len(w.label) for w in words), initial=before)][:-1],
        }


def _chat_entry(piece: Piece) -> dict[str, Any]:
    return _entry(piece.word) | {"top_logprobs": [_entry(word) for word in piece.tops]}


def _entry(word: Word) -> dict[str, Any]:
    return {"token": word.label, "logprob": _number(word.log_prob), "bytes": list(word.spelled)}


def _number(value: float) -> float:
    """A log-probability as JSON has numbers; what can not come is as unlikely as OpenAI writes it."""
    return value if math.isfinite(value) else -9999.0
