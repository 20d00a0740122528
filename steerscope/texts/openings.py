"""What both texts of a pair open with: a prompt that leads to either."""

from __future__ import annotations

from steerscope.texts.chats import Conversation, shared_turns
from steerscope.texts.pairs import ContrastPair
from steerscope.texts.words import between_blanks


def opening_of(pair: ContrastPair) -> str:
    """The words that both texts of a pair open with, as they stand there.

    Where they share no word, the first half of the negative text. Of conversations, the turns that both
    open with: of two answers, the question.
    """
    turns = shared_turns(pair.positive, pair.negative)
    if turns is not None:
        return turns
    positive, negative = _said_last(pair.positive), _said_last(pair.negative)
    words, others = between_blanks(negative), between_blanks(positive)
    shared = 0
    while shared < min(len(words), len(others)) and words[shared][0] == others[shared][0]:
        shared += 1
    kept = words[: shared or max(1, len(words) // 2)]
    return negative[kept[0].start() : kept[-1].end()] if kept else ""


def _said_last(text: str) -> str:
    """A text, or the last thing that is said in a conversation."""
    return text.messages[-1].content if isinstance(text, Conversation) else text
