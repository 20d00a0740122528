"""Prompting, the rival of every steering: what is asked for is said to the model in words."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from steerscope.errors import BadValueError, TemplateError
from steerscope.models.chat_templates import ChatText
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.steering.interventions import Cell, Rows
from steerscope.texts.chats import Conversation, Message
from steerscope.texts.lines import check_text

INSTRUCTION, EXAMPLES, BOTH = (
    "prompting_instruction",
    "prompting_examples",
    "prompting_both",
)
METHODS = {
    INSTRUCTION: "an instruction",
    EXAMPLES: "examples",
    BOTH: "an instruction with examples",
}
_GAP = "\n\n"
_SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class Prompting:
    """An instruction, examples or both before what a model is given; no activation is touched.

    In plain text they come before the prompt, one empty line apart. In a chat template the instruction
    goes into the system turn, after what stands there; where the template refuses a system turn or
    leaves it out, before the first message of the user. Examples that are conversations become earlier turns; those that
    are texts follow the instruction.

    It is a condition like any other, for `generate`, `preferences` and what measures by them. The KL at
    the positions of a prompt is not defined for it and NaN.

    Attributes:
        instruction: what to do, in words; empty for none.
        examples: texts or conversations that show it.

    Raises:
        BadValueError: neither is given, or one of the examples is empty.

    Source: Brown et al. 2020 (arXiv:2005.14165), examples in the prompt; Wu et al. 2025, AxBench
    (arXiv:2501.17148), prompting as the rival of steering.
    """

    instruction: str = ""
    examples: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.instruction.strip() and not self.examples:
            raise BadValueError("prompting needs an instruction, examples or both; it has neither.")
        for text in self.examples:
            if not text.strip():
                raise BadValueError("one of the examples of a prompting is empty; leave it out.")
        for text in (self.instruction, *self.examples):
            check_text("prompting", text)

    @property
    def method(self) -> str:
        """Which kind of prompting it is, as rows call it."""
        if not self.examples:
            return INSTRUCTION
        return BOTH if self.instruction.strip() else EXAMPLES

    def labels(self) -> dict[str, str | float]:
        """Its kind and a hash of its words; a place and a dose it has not."""
        said = "\0".join((self.instruction, *self.examples))
        return {
            "method": self.method,
            "stream": "",
            "layer": -1,
            "head": -1,
            "operator": "",
            "scope": "",
            "dose_absolute": math.nan,
            "dose_relative": math.nan,
            "dose_natural": math.nan,
            "seed": -1,
            "words": hashlib.sha256(said.encode()).hexdigest()[:12],
        }

    def first_block(self, prompt_length: int) -> int | None:  # noqa: ARG002 - no block is changed
        """None: no block runs otherwise."""
        return None

    def attach(
        self,
        model: LensModel,  # noqa: ARG002 - as every intervention
        rows: Rows | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Refused: words act where a text is given, and not on a model that has its tokens.

        Raises:
            BadValueError: always.
        """
        raise BadValueError(
            "prompting changes what a model is given and nothing within it; hand it over as a "
            "condition, generate(model, prompts, [Cell((prompting,))]), or give prompting.seen(prompt)."
        )

    def seen(self, text: str) -> str:
        """The prompt as the model sees it.

        Raises:
            BadValueError: an example is a conversation and the prompt is in no chat template.
            TemplateError: the chat template refuses the turns.
        """
        if isinstance(text, ChatText):
            return self._in_chat(text)
        if any(isinstance(example, Conversation) for example in self.examples):
            raise BadValueError(
                "an example is a conversation, which only a chat template can write; wrap the prompts."
            )
        return _GAP.join(part for part in (self.instruction.strip(), *self.examples, text) if part)

    def _in_chat(self, text: ChatText) -> ChatText:
        """The same conversation with what is asked for in its system turn and the examples behind."""
        texts = [e for e in self.examples if not isinstance(e, Conversation)]
        shown = [
            turn
            for example in self.examples
            if isinstance(example, Conversation)
            for turn in example.messages
            if turn.role not in _SYSTEM
        ]
        lead = _GAP.join(part for part in (self.instruction.strip(), *_titled(texts)) if part)
        own = [m for m in text.turns if m.role in _SYSTEM]
        rest = [m for m in text.turns if m.role not in _SYSTEM]
        if not lead:
            return text.saying([*own, *shown, *rest])
        system = _GAP.join([*(m.content for m in own if m.content), lead])
        try:
            return text.saying([Message("system", system), *shown, *rest])
        except TemplateError:
            first, *others = [*shown, *rest]
            asked = Message(first.role, f"{system}{_GAP}{first.content}")
            return text.saying([asked, *others])


def _titled(examples: Sequence[str]) -> list[str]:
    """Texts that show what is wanted, within a turn that holds other words."""
    return ["Examples:", *examples] if examples else []


def is_prompting(cell: Cell) -> bool:
    """Whether a condition says something to the model."""
    return any(isinstance(i, Prompting) for i in cell.interventions)


def on_activations(cell: Cell) -> Cell:
    """What of a condition acts within the model: all but the words."""
    if not is_prompting(cell):
        return cell
    return Cell(tuple(i for i in cell.interventions if not isinstance(i, Prompting)))


def seen_under(cell: Cell, prompt: TextOrIds) -> TextOrIds:
    """A prompt as the model sees it under a condition.

    Raises:
        BadValueError: the condition says something and the prompt is token ids.
    """
    for intervention in cell.interventions:
        if isinstance(intervention, Prompting):
            if not isinstance(prompt, str):
                raise BadValueError(
                    "prompting adds words to a text; give the prompt as text and not as token ids."
                )
            prompt = intervention.seen(prompt)
    return prompt
