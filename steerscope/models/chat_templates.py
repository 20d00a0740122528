"""Chat templates: texts as turns of a conversation, and which directions belong to which template."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from steerscope.errors import BadValueError, TemplateError, reason
from steerscope.models.lens_model import LensModel
from steerscope.texts.contrasts import ContrastSet, PromptSet

UNKNOWN = "unknown"
Texts = TypeVar("Texts", ContrastSet, PromptSet)


@dataclass(frozen=True)
class ChatTemplate:
    """Writes a text as what a user says, up to where the assistant begins to answer.

    Attributes:
        tokenizer: a Hugging Face tokenizer with a chat template.
        system: a system message before it; empty for none.
    """

    tokenizer: Any
    system: str = ""

    @property
    def name(self) -> str:
        """A short hash of the template and the system message: the same for the same conversation.

        Raises:
            TemplateError: the tokenizer has no template, or several and none by default.
        """
        try:
            source = self.tokenizer.get_chat_template()
        except (ValueError, AttributeError) as error:
            raise TemplateError(
                f"the tokenizer has no chat template to use ({reason(error)[:120]}); take the "
                "instruction-tuned model, set tokenizer.chat_template, or leave the chat out."
            ) from None
        return "chat-" + hashlib.sha256(f"{source}\0{self.system}".encode()).hexdigest()[:12]

    def __call__(self, text: str) -> str:
        """The conversation that the model is to continue.

        Raises:
            TemplateError: the template refuses the messages, for example a system message.
        """
        messages = [{"role": "user", "content": text}]
        if self.system:
            messages.insert(0, {"role": "system", "content": self.system})
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, add_generation_prompt=True, tokenize=False
                )
            )
        except Exception as error:  # noqa: BLE001 - templates are programs and raise what they like
            raise TemplateError(
                f"the chat template refuses {text[:40]!r} ({reason(error)[:120]}); leave the system "
                "message out, or the chat."
            ) from error


def wrapped(model: LensModel, texts: Texts, *, system: str = "") -> Texts:
    """The texts as a user says them to the model in its chat template, the answer about to begin.

    The last token is the one after which the model answers. Where the template writes the
    beginning-of-sequence token, `model.tokens` adds no second one. Wrap the prompts with the
    template that the contrast set was wrapped with: `check_templates` tells where it differs.

    Args:
        model: whose tokenizer has the template.
        texts: a contrast set or prompts; facts and concept stay as they are.
        system: a system message before each text.

    Raises:
        TemplateError: the tokenizer has no chat template, or the template refuses a text.
        BadValueError: the texts are wrapped already.
    """
    if texts.template:
        raise BadValueError(f"{texts.name!r} is in the chat template {texts.template} already.")
    chat = ChatTemplate(model.tokenizer, system)
    name = chat.name
    if isinstance(texts, PromptSet):
        prompts = tuple(replace(p, text=chat(p.text)) for p in texts.prompts)
        return replace(texts, prompts=prompts, template=name)
    pairs = tuple(
        replace(p, positive=chat(p.positive), negative=chat(p.negative)) for p in texts.pairs
    )
    return replace(texts, pairs=pairs, template=name)
