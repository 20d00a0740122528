"""The texts of a plan: its contrast set, and the splits of pairs and prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from steerscope.errors import BadValueError
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.studies.steering.plan import Plan
from steerscope.texts.chats import Chat
from steerscope.texts.contrasts import (
    ContrastSet,
    Prompt,
    PromptSet,
    Split,
    load_contrasts,
    split_prompts_for,
)


@dataclass(frozen=True)
class Texts:
    """What a plan names: the contrast set, and the splits of its pairs and of the prompts."""

    contrasts: ContrastSet
    pairs: Split[ContrastSet]
    prompts: Split[PromptSet]

    def in_chat(self, model: LensModel, chat: bool | Chat | None) -> Texts:
        """The same texts in the model's chat template, if there is to be one."""
        return Texts(
            in_chat(model, self.contrasts, chat),
            self.pairs.map(lambda part: in_chat(model, part, chat)),
            self.prompts.map(lambda part: in_chat(model, part, chat)),
        )

    def repeated(self, samples: int) -> Texts:
        """The same with each prompt so many times in a row, for as many texts of it."""

        def of(part: PromptSet) -> PromptSet:
            return replace(part, prompts=tuple(p for p in part.prompts for _ in range(samples)))

        return self if samples == 1 else replace(self, prompts=self.prompts.map(of))

    @property
    def all_prompts(self) -> tuple[Prompt, ...]:
        """The prompts of both splits."""
        return (*self.prompts.select.prompts, *self.prompts.test.prompts)

    def longest(self, model: LensModel, room: int) -> int:
        """Tokens of the longest prompt, which leaves room for so many more.

        Raises:
            BadValueError: one is a single token: position 0 alone has no eigengap and no norm.
        """
        lengths = {p.text: len(model.tokens(p.text, room=room)) for p in self.all_prompts}
        shortest = min(lengths, key=lambda text: lengths[text])
        if lengths[shortest] < 2:
            raise BadValueError(
                f"prompt {shortest!r} has no token but position 0; use longer prompts, or --bos always."
            )
        return max(lengths.values())


def load_texts(plan: Plan) -> Texts:
    """The texts that a plan names, each split limited to what the plan uses."""
    contrasts = load_contrasts(plan.contrasts)
    pairs = contrasts.split(plan.seed, plan.grouping)
    prompts = split_prompts_for(
        contrasts,
        plan.prompts,
        plan.seed,
        max_select=plan.max_select,
        max_test=plan.max_test,
        grouping=plan.grouping,
    )
    return Texts(contrasts, pairs, prompts)
