"""Chat templates: texts and conversations as the model is used to read them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from steerscope.errors import BadValueError, TemplateError, reason
from steerscope.models.lens_model import LensModel
from steerscope.texts.chats import Chat, Conversation, Message, as_chat, as_conversation
from steerscope.texts.contrasts import ContrastSet, Prompt, PromptSet

UNKNOWN = "unknown"
_ASKS_DATE = re.compile(r"""\bstrftime_now\s*\(\s*(?P<quote>["'])(?P<form>[^"']*)(?P=quote)\s*\)""")
Texts = TypeVar("Texts", ContrastSet, PromptSet)


class ChatText(str):
    """A conversation as a chat template wrote it, which knows its turns, so that more can be said in it.

    Attributes:
        turns: who said what, the system message of the template's chat among them.
        template: that wrote it.
    """

    turns: tuple[Message, ...]
    template: ChatTemplate
    __slots__ = ("template", "turns")

    def __new__(cls, text: str, turns: Sequence[Message], template: ChatTemplate) -> ChatText:
        """The text that a template made of turns."""
        found = super().__new__(cls, text)
        found.turns, found.template = tuple(turns), template
        return found

    def __getnewargs__(self) -> tuple[str, tuple[Message, ...], ChatTemplate]:  # type: ignore[override]
        return str(self), self.turns, self.template

    def __deepcopy__(self, memo: dict[int, Any]) -> ChatText:  # noqa: ARG002 - nothing in it changes
        return self

    def saying(self, turns: Sequence[Message]) -> ChatText:
        """Other turns, written by the same template.

        Raises:
            TemplateError: the template refuses them.
        """
        return self.template(Conversation(turns))


def turns_of(text: str) -> tuple[Message, ...]:
    """The turns of a conversation, whether a template wrote it out or not; none of any other text."""
    if isinstance(text, ChatText):
        return text.turns
    return text.messages if isinstance(text, Conversation) else ()


def asked_in(text: str) -> str:
    """What the user said last in a conversation, empty for nothing; any other text as it is."""
    turns = turns_of(text)
    said = [turn.content for turn in turns if turn.role == "user"]
    return (said[-1] if said else "") if turns else text


@dataclass(frozen=True)
class ChatTemplate:
    """Writes a text or a conversation up to where the assistant begins or goes on to answer.

    Attributes:
        tokenizer: a Hugging Face tokenizer with a chat template.
        chat: system message, arguments and date.
    """

    tokenizer: Any
    chat: Chat = field(default_factory=Chat)

    @property
    def source(self) -> str:
        """The template itself.

        Raises:
            TemplateError: the tokenizer has no template, or several and none by default.
        """
        try:
            return str(self.tokenizer.get_chat_template())
        except (ValueError, AttributeError) as error:
            raise TemplateError(
                f"the tokenizer has no chat template to use ({reason(error)[:120]}); take the "
                "instruction-tuned model, set tokenizer.chat_template, or leave the chat out."
            ) from None

    @property
    def reads_date(self) -> bool:
        """Whether the template asks what day it is."""
        return "strftime_now" in self.source

    @property
    def name(self) -> str:
        """A short hash of the template and of what it is told: the same for the same conversation.

        Raises:
            TemplateError: the tokenizer has no template, or several and none by default.
        """
        told = f"{self.source}\0{self.chat.system or ''}"
        if self.chat.system == "":
            told += "\0no system message"
        if options := self._options():
            told += f"\0{json.dumps(options, sort_keys=True)}"
        if self.reads_date:
            told += f"\0{self.chat.date}"
        return "chat-" + hashlib.sha256(told.encode()).hexdigest()[:12]

    def __call__(self, text: str) -> ChatText:
        """The conversation that the model is to continue, as text.

        Raises:
            TemplateError: the template refuses the messages, for example a system message, leaves
                one of them out, or does not write out the answer that is to be continued.
        """
        turns = messages = self._messages(text)
        begun = messages[-1].content if messages[-1].role == "assistant" else ""
        if messages[-1].role == "assistant" and not begun:
            messages = messages[:-1]  # an answer of which nothing is said yet
        written = self._written(text, messages, begun)
        if begun.strip() and not written.rstrip().endswith(begun.rstrip()):
            raise TemplateError(
                f"the chat template does not end in the answer {begun[:40]!r} that is to be "
                "continued; give the answer as it would write it, or leave it out."
            )
        self._check_said(text, messages, begun, written)
        return ChatText(written, turns, self)

    def _check_said(
        self, text: str, messages: tuple[Message, ...], begun: str, written: str
    ) -> None:
        """Refuse a text that lacks what one of the turns says."""
        left = written
        turns = range(len(messages) - bool(begun))
        # the longest first, since the words of one may be part of another's
        for i in sorted(turns, key=lambda i: -len(messages[i].content)):
            turn = messages[i]
            words = turn.content.strip()
            if words in left:
                left = left.replace(words, "", 1)
                continue
            # written in other letters, or not at all: then other words make the same text
            other = Message(turn.role, f"{turn.content} {turn.content[::-1]}")
            if self._written(text, (*messages[:i], other, *messages[i + 1 :]), begun) == written:
                raise TemplateError(
                    f"the chat template leaves out what the {turn.role} says ({words[:40]!r}); say "
                    "it in a turn that it writes, such as the user's, or leave it out."
                )

    def _messages(self, text: str) -> tuple[Message, ...]:
        """The turns of a conversation, or the one of a text, after the system message."""
        messages = as_conversation(text).messages
        own = any(m.role in {"system", "developer"} for m in messages)
        if self.chat.system is None or own:
            return messages
        return (Message("system", self.chat.system), *messages)

    def _written(self, text: str, messages: tuple[Message, ...], begun: str) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [{"role": m.role, "content": m.content} for m in messages],
                    add_generation_prompt=not begun,
                    continue_final_message=bool(begun),
                    tokenize=False,
                    chat_template=self._dated(),
                    **self._options(),
                )
            )
        except TemplateError:
            raise
        except Exception as error:  # noqa: BLE001 - templates are programs and raise what they like
            raise TemplateError(
                f"the chat template refuses {text[:40]!r} ({reason(error)[:120]}); leave the system "
                "message out, or the chat."
            ) from error

    def _dated(self) -> str:
        """The template with the fixed date wherever it asks for today's."""
        dated = _ASKS_DATE.sub(lambda m: repr(self.chat.day.strftime(m["form"])), self.source)
        if re.search(r"\bstrftime_now\s*\(", dated):
            raise TemplateError(
                "the chat template asks for the date in a form of its own making, so that it cannot "
                "be fixed; write the form into the template as a text."
            )
        return dated

    def _options(self) -> dict[str, Any]:
        """The arguments, each of which the template must read."""
        options = self.chat.options()
        for name in options:
            if not re.search(rf"\b{name}\b", self.source):
                raise TemplateError(
                    f"the chat template of this model reads no {name!r}; leave the argument out."
                )
        return options


def wrapped(
    model: LensModel,
    texts: Texts,
    chat: Chat | None = None,
    *,
    system: str | None = None,
) -> Texts:
    """The texts in the model's chat template, up to where the assistant's answer begins or goes on.

    A text is what a user says; a conversation is written as it is, and one that ends in a turn of
    the assistant stays open there. The last token is the one after which the model goes on. Where
    the template writes the beginning-of-sequence token, `model.tokens` adds no second one. Wrap the
    prompts with the template that the contrast set was wrapped with: `check_templates` tells where
    it differs.

    Args:
        model: whose tokenizer has the template.
        texts: a contrast set or prompts; facts and concept stay as they are.
        chat: system message, arguments of the template and date; default none of them.
        system: short for a chat with this system message.

    Raises:
        TemplateError: the tokenizer has no chat template, or the template refuses a text or leaves a
            turn out, such as the system message.
        BadValueError: the texts are wrapped already, or both chat and system are given.
    """
    if texts.template:
        raise BadValueError(f"{texts.name!r} is in the chat template {texts.template} already.")
    if chat is not None and system is not None:
        raise BadValueError("give the system message in the chat or as system=, not as both.")
    write = ChatTemplate(model.tokenizer, chat or Chat(system=system))
    name = write.name
    if isinstance(texts, PromptSet):
        prompts = tuple(replace(p, text=write(p.text)) for p in texts.prompts)
        of = None if texts.openings_of is None else _written(write, texts.openings_of)
        return replace(texts, prompts=prompts, template=name, openings_of=of)
    return _written(write, texts)


def _written(write: ChatTemplate, contrasts: ContrastSet) -> ContrastSet:
    pairs = tuple(
        replace(p, positive=write(p.positive), negative=write(p.negative)) for p in contrasts.pairs
    )
    return replace(contrasts, pairs=pairs, template=write.name)


def in_chat(model: LensModel, texts: Texts, chat: bool | Chat | None) -> Texts:
    """The texts as a setting wants them: wrapped, or as they are for None and false.

    Raises:
        BadValueError: a text is a conversation and there is no chat to write it in.
    """
    asked = as_chat(chat)
    if asked is not None:
        return wrapped(model, texts, asked)
    held = (
        [p.text for p in texts.prompts]
        if isinstance(texts, PromptSet)
        else [t for p in texts.pairs for t in (p.positive, p.negative)]
    )
    if any(isinstance(text, Conversation) for text in held):
        raise BadValueError(
            f"{texts.name!r} holds conversations, which only a chat template can write; use --chat "
            "(chat=True in a plan)."
        )
    return texts


def texts_in_chat(model: LensModel, texts: Sequence[str], chat: Chat | None) -> list[str]:
    """`in_chat` for texts that belong to no set.

    Raises:
        TemplateError: the tokenizer has no chat template, or the template refuses a text.
        BadValueError: a text is a conversation and there is no chat to write it in.
    """
    prompts = PromptSet("prompts", tuple(Prompt(text) for text in texts))
    return [p.text for p in in_chat(model, prompts, chat).prompts]
