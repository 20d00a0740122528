"""Conversations: what is said in turns, and how a chat template is to write them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date
from typing import Any

from steerscope.errors import BadValueError, ContrastError, UnknownNameError
from steerscope.texts.lines import check_text

ROLES = ("system", "developer", "user", "assistant", "tool")
# What a template that asks for the date is told where nothing else is said: a fixed day, so that a
# run that goes on tomorrow reads the same texts. Stored settings rely on it; it never changes.
FIXED_DATE = "2025-01-01"


@dataclass(frozen=True)
class Message:
    """One turn: who says it, and what. An empty system message asks a template for none.

    Attributes:
        role: `system`, `developer`, `user`, `assistant` or `tool`.
        content: what is said.

    Raises:
        UnknownNameError: no such role.
        ContrastError: a user who says nothing, or half of a surrogate pair.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise UnknownNameError("role", self.role, ROLES)
        if self.role == "user" and not self.content.strip():
            raise ContrastError("a message of the user is empty; write a sentence.")
        check_text(f"{self.role} message", self.content)


class Conversation(str):
    """Turns of a conversation, as a text that only a chat template can write out.

    Of the assistant's turn at the end, if there is one, the answer is begun and the model goes on
    with it; after a turn of anyone else the model begins to answer. As a text it is JSON, for hashes
    and for the eye.

    Raises:
        ContrastError: there is no turn but of the system.
    """

    messages: tuple[Message, ...]
    __slots__ = ("messages",)

    def __new__(cls, messages: Sequence[Message]) -> Conversation:
        """The conversation of these messages."""
        if all(m.role in {"system", "developer"} for m in messages):
            raise ContrastError("a conversation needs a message of the user or the assistant.")
        found = super().__new__(
            cls, json.dumps([[m.role, m.content] for m in messages], ensure_ascii=False)
        )
        found.messages = tuple(messages)
        return found

    def __getnewargs__(self) -> tuple[tuple[Message, ...]]:  # type: ignore[override]
        return (self.messages,)

    @property
    def is_open(self) -> bool:
        """Whether it ends in a turn of the assistant, which the model goes on with."""
        return self.messages[-1].role == "assistant"

    def then(self, answer: str) -> Conversation:
        """The same with a turn of the assistant at the end."""
        return Conversation((*self.messages, Message("assistant", answer)))


def check_said(text: str) -> None:
    """Refuse what no tokenizer takes: half a surrogate pair, and turns that no template has written.

    Raises:
        ContrastError: the text holds half of a surrogate pair.
        BadValueError: it is a conversation.
    """
    check_text("prompt", text)
    if isinstance(text, Conversation):
        raise BadValueError(
            "a conversation has no tokens until a chat template writes it; use --chat (wrapped in "
            "Python)."
        )


def as_conversation(value: Any) -> Conversation:
    """The conversation of a list of `{"role": ..., "content": ...}`, or of what a user says.

    Raises:
        ContrastError: it is neither, or a message has other keys.
        UnknownNameError: no such role.
    """
    if isinstance(value, Conversation):
        return value
    if isinstance(value, str):
        return Conversation((Message("user", value),))
    if not isinstance(value, list | tuple) or not value:
        raise ContrastError(f"must be a text or a list of messages, not {value!r}.")
    return Conversation(tuple(map(_message, value)))


def _message(value: Any) -> Message:
    if not isinstance(value, dict) or value.keys() != {"role", "content"}:
        raise ContrastError(
            f'a message is {{"role": "user", "content": "..."}} and nothing else, not {value!r}.'
        )
    if not all(isinstance(part, str) for part in value.values()):
        raise ContrastError(f"role and content of a message must be texts, not {value!r}.")
    return Message(**value)


def shared_turns(one: str, other: str) -> Conversation | None:
    """The turns that two conversations open with, up to the last of the user; None for none.

    For two answers that is the question. Messages of the system may differ and are then left out.
    """
    if not (isinstance(one, Conversation) and isinstance(other, Conversation)):
        return None
    shared = list(_opening(one.messages, other.messages))
    if not shared:
        shared = list(_opening(_unsaid(one), _unsaid(other)))
    while shared and shared[-1].role != "user":
        shared.pop()
    return Conversation(tuple(shared)) if shared else None


def question_of(one: str, other: str) -> Conversation | None:
    """The turns that two texts open with, as `shared_turns`, also where a chat template has written them."""
    turns = [getattr(text, "turns", None) for text in (one, other)]
    first, second = (
        text if said is None else Conversation(said)
        for text, said in zip((one, other), turns, strict=True)
    )
    return shared_turns(first, second)


def turns_apart(one: str, other: str) -> tuple[str, str] | None:
    """What two conversations say after the turns that both open with; None where they are none."""
    if not (isinstance(one, Conversation) and isinstance(other, Conversation)):
        return None
    shared = len(list(_opening(one.messages, other.messages)))
    first, second = (
        "\n\n".join(m.content for m in turns.messages[shared:]) for turns in (one, other)
    )
    return first, second


def _opening(one: Sequence[Message], other: Sequence[Message]) -> Iterator[Message]:
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            return
        yield mine


def _unsaid(conversation: Conversation) -> list[Message]:
    """The turns but those of the system."""
    return [m for m in conversation.messages if m.role not in {"system", "developer"}]


@dataclass(frozen=True)
class Chat:
    """How texts are put into a model's chat template.

    Attributes:
        system: a system message before conversations that have none; None for whatever the template
            writes by itself, empty for an empty one.
        arguments: of the template, each as `NAME=VALUE`, such as `enable_thinking=false`.
        date: what a template that asks for the date is told, as year-month-day.

    Raises:
        BadValueError: an argument or a date that cannot be read.
    """

    system: str | None = None
    arguments: tuple[str, ...] = ()
    date: str = FIXED_DATE

    def __post_init__(self) -> None:
        if isinstance(self.date, Date):  # as YAML reads one that is not in quotes
            object.__setattr__(self, "date", self.date.isoformat())
        for name in ("system", "date"):
            if not isinstance(value := getattr(self, name), str) and (name, value) != (
                "system",
                None,
            ):
                raise BadValueError(f"the {name} of a chat must be a text, not {value!r}.")
        listed = isinstance(self.arguments, list | tuple)
        if not listed or not all(isinstance(a, str) for a in self.arguments):
            raise BadValueError(
                f"the arguments of a chat must be a list of NAME=VALUE, not {self.arguments!r}."
            )
        object.__setattr__(self, "arguments", tuple(self.arguments))
        self.options()
        try:
            Date.fromisoformat(self.date)
        except ValueError:
            raise BadValueError(
                f"cannot read the date {self.date!r}; write it as year-month-day, such as "
                f"{FIXED_DATE}."
            ) from None
        if self.system is not None:
            check_text("system message", self.system)

    def options(self) -> dict[str, Any]:
        """The arguments by name; a value that is JSON is read as such, any other is a text.

        Raises:
            BadValueError: an argument is not `NAME=VALUE`.
        """
        found: dict[str, Any] = {}
        for argument in self.arguments:
            name, sign, value = argument.partition("=")
            if not sign or not re.fullmatch(r"[A-Za-z_]\w*", name.strip()):
                raise BadValueError(
                    f"cannot read the template argument {argument!r}; write it as NAME=VALUE, such "
                    "as enable_thinking=false."
                )
            found[name.strip()] = _value(value.strip())
        return found

    @property
    def day(self) -> Date:
        """The date, as one."""
        return Date.fromisoformat(self.date)

    def stored(self) -> bool | dict[str, Any]:
        """As a run keeps it: true where nothing is said, else what is said and the date."""
        if self == Chat():
            return True
        said = {"system": self.system, "arguments": list(self.arguments) or None}
        return {k: v for k, v in said.items() if v is not None} | {"date": self.date}


def as_chat(value: Any) -> Chat | None:
    """The chat of a setting: None or false for none, true for the template as it is, or its parts.

    Raises:
        BadValueError: it is none of these.
    """
    if value is None or isinstance(value, Chat):
        return value
    if isinstance(value, bool):
        return Chat() if value else None
    known = set(Chat.__dataclass_fields__)
    if isinstance(value, Mapping) and value.keys() <= known:
        return Chat(**{**value, "arguments": value.get("arguments") or ()})
    raise BadValueError(
        f"chat must be true, false, or parts of {', '.join(sorted(known))}; not {value!r}."
    )


def _value(text: str) -> Any:
    lowered = {"True": "true", "False": "false", "None": "null"}.get(text, text)
    try:
        return json.loads(lowered)
    except ValueError:
        return text
